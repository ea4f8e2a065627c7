"""The loaders under Lightning's Trainer: no warnings, and a resumed run sees the same batches."""

import pytest
import pytorch_lightning as lightning
import torch

from datamodules import Digits
from tests.references.training import SILENT

# Lightning's own use of torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning")


class _Recorder(lightning.LightningModule):
    """Learns next to nothing and keeps the labels of every batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(784))
        self.seen = []

    def training_step(self, batch):
        images, labels = batch
        self.seen.append((self.current_epoch, images.sum((1, 2, 3))))
        return (images.flatten(1) @ self.weight - labels).square().mean()

    def validation_step(self, batch):
        self.log("error", batch[1].mean())

    test_step = validation_step

    def predict_step(self, batch):
        return batch[0].flatten(1) @ self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def _trainer(folder, epochs):
    return lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=folder,
        **SILENT,
        num_sanity_val_steps=1,
    )


@pytest.fixture
def run(tmp_path):
    def fit(epochs, *, batch_size=16, checkpoint=None):
        recorder, trainer = _Recorder(), _trainer(tmp_path, epochs)
        data = Digits(n_train=40, n_test=30, batch_size=batch_size)
        trainer.fit(recorder, datamodule=data, ckpt_path=checkpoint)
        return recorder, trainer, data

    return fit


def test_fit_test_and_predict(run):
    recorder, trainer, data = run(2)
    assert [len(sums) for _, sums in recorder.seen] == [16, 16, 8] * 2
    assert len(trainer.test(recorder, datamodule=data, verbose=False)) == 1
    assert len(torch.cat(trainer.predict(recorder, datamodule=data))) == 30


def test_full_batch_is_one_step_in_an_epoch(run):
    recorder, trainer, _ = run(3, batch_size=None)
    assert trainer.global_step == 3
    assert all(torch.equal(sums, recorder.seen[0][1]) for _, sums in recorder.seen)


def test_epochs_differ_and_runs_repeat_to_the_bit(run):
    first, _, _ = run(2)
    again, _, _ = run(2)
    assert not torch.equal(first.seen[0][1], first.seen[3][1])
    assert all(torch.equal(one[1], two[1]) for one, two in zip(first.seen, again.seen, strict=True))
    assert torch.equal(first.weight, again.weight)


def test_resumed_run_sees_the_batches_of_an_unbroken_one(run, tmp_path):
    unbroken, _, _ = run(4)
    _, trainer, _ = run(2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _, _ = run(4, checkpoint=tmp_path / "half.ckpt")
    assert [epoch for epoch, _ in resumed.seen] == [2] * 3 + [3] * 3
    assert all(torch.equal(one[1], two[1]) for one, two in zip(unbroken.seen[6:], resumed.seen, strict=True))
    assert torch.equal(unbroken.weight, resumed.weight)
