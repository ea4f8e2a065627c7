"""Certificates and attacks beside a measurement: the table, its file and the page."""

import pandas as pd
import pytest
import torch

from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.measuring import PassSettings
from diffstab.measuring.data import open_data
from diffstab.measuring.one_call import prepare
from diffstab.measuring.sandwich import SandwichSettings, read_sandwiches, sandwich
from diffstab.nets import LoadedModel, load_model
from diffstab.report import rendering
from diffstab.stability import CertifySettings, certify
from tests.measuring.conftest import small_net, smooth_images

SMALL = SandwichSettings(certify=True, attack=True, images=12, draws=200, sigma=1.5, steps=3, restarts=1)


def ready(model, data, **options):
    return prepare(model, open_data(data), settings=PassSettings(deltas=("0.5px",), **options))


def line(frame, classifier, name):
    chosen = frame[(frame["classifier"] == classifier) & (frame["line"] == name)]
    return chosen.set_index("norm")["accuracy"]


def test_certified_attacked_random_against_the_norm(net, labelled):
    prepared = ready(net, labelled)
    frame = sandwich(prepared, SMALL)
    assert frame["is_labelled"].all()
    for classifier in ("smoothed", "plain"):
        attacked, random = line(frame, classifier, "attacked"), line(frame, classifier, "random")
        assert (attacked <= random).all()
        assert attacked.is_monotonic_decreasing
    certified = line(frame, "smoothed", "certified")
    shared = certified.index.intersection(line(frame, "smoothed", "attacked").index)
    assert len(shared) > 3
    assert (certified[shared] <= line(frame, "smoothed", "attacked")[shared]).all()
    assert (frame["accuracy_low"] <= frame["accuracy"]).all()
    assert (frame["accuracy"] <= frame["accuracy_high"]).all()
    # 12 coordinates: a draw of the measured field has norm sqrt(12) in the mean square.
    assert (frame["rms_px"] / frame["norm"]).dropna().std() < 1e-9


def test_the_certified_line_is_that_of_the_function_after_preprocessing(labelled):
    net = small_net()
    loaded = LoadedModel(net, "net", "an object", preprocessing=lambda images: 1 - images)
    prepared = ready(loaded, labelled)
    frame = sandwich(prepared, SandwichSettings(certify=True, images=12, draws=200))
    numbers = prepared.order[:12]
    images = torch.stack([labelled[number][0] for number in numbers.tolist()])
    labels = torch.stack([labelled[number][1] for number in numbers.tolist()])
    settings = CertifySettings(delta_px=0.5, draws=200)
    proved = certify(lambda x: net(1 - x), images, settings, numbers=numbers)
    for norm, accuracy in line(frame, "smoothed", "certified").items():
        assert accuracy == proved.accuracy(labels, norm).value
    assert set(frame["line"]) == {"certified"}


def test_batches_change_nothing(net, labelled):
    prepared = ready(net.double(), labelled)
    whole, part = (sandwich(prepared, SMALL, batch_size=size) for size in (1000, 50))
    pd.testing.assert_frame_equal(whole, part)


def test_without_labels_the_class_of_the_smoothed_classifier_counts(net):
    frame = sandwich(ready(net, smooth_images(15)), SMALL)
    assert not frame["is_labelled"].any()
    assert line(frame, "smoothed", "random").loc[0.0] == 1


def test_a_measurement_of_rotations_alone_has_no_unit(net, labelled):
    prepared = prepare(
        net, open_data(labelled), settings=PassSettings(deltas=(), cutoffs=(), rotations=(5.0,))
    )
    with pytest.raises(ArgumentError, match="deltas must hold a displacement"):
        sandwich(prepared, SMALL)


def test_an_attack_needs_a_certificate():
    with pytest.raises(ArgumentError, match="attack must go with certify"):
        SandwichSettings(attack=True)
    with pytest.raises(ArgumentError, match="images must be at least 1"):
        SandwichSettings(certify=True, images=0)
    with pytest.raises(ArgumentError, match="sigma must be finite"):
        SandwichSettings(certify=True, sigma=-1.0)


@pytest.mark.data
def test_the_sandwich_of_a_trained_net_on_real_images(data_root):
    path = data_root / "nets" / "resnet20-12fca82f.th"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    told = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    model = load_model("diffstab.nets:ResNet", init_args={"depth": 20}, weights=path, preprocessing=told)
    prepared = prepare(
        model, open_data(str(data_root / "cifar10-jpeg" / "test")), settings=PassSettings(images=8)
    )
    options = {"certify": True, "attack": True, "images": 8, "draws": 50, "steps": 2, "restarts": 1}
    frame = sandwich(prepared, SandwichSettings(**options))
    certified, attacked, random = (
        line(frame, "smoothed", name) for name in ("certified", "attacked", "random")
    )
    assert random.loc[0.0] >= 0.5  # of eight images; 81 % are right on all
    assert certified.loc[0.5] > 0
    assert (certified[attacked.index] <= attacked).all()
    assert (attacked <= random).all()


SOURCE = """
from torch import nn

COUNT = 0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 2)

    def forward(self, x):
        global COUNT
        COUNT += len(x)
        return self.head(x.flatten(1))
"""


def test_the_command_writes_a_table_and_a_section_once(place, monkeypatch, capsys):
    save = rendering._saved
    monkeypatch.setattr(rendering, "_saved", lambda *args: save(*args) if args[1] == "svg" else b"\x89PNG")
    (place / "theirs_of_sandwich.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(place))
    torch.save(torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)), place / "images.pt")
    (place / "their_loader.py").write_text(
        "import torch\n\ndef images():\n    return torch.utils.data.DataLoader(torch.load('images.pt'), batch_size=8)\n"
    )
    measured = [
        "measure",
        "--model",
        "theirs_of_sandwich:Net",
        "--data",
        "their_loader:images",
        "--accelerator",
        "cpu",
    ]
    measured += ["--layers", "output", "--results", "out"]
    certified = [
        *measured,
        "--certify",
        "--attack",
        "--certify-images",
        "5",
        "--certify-draws",
        "50",
        "--sigma",
        "0.8",
    ]
    assert main(measured) == 0
    assert read_sandwiches(place / "out").empty
    assert main(certified) == 0
    frame = read_sandwiches(place / "out")
    assert frame["images"].unique().tolist() == [5]
    assert frame["sigma"].unique().tolist() == [0.8]
    page = (place / "out" / "report" / "index.html").read_text()
    assert "Certified and worst case</h2>" in page
    assert "Nothing is proved of the model itself" in page
    import theirs_of_sandwich

    theirs_of_sandwich.COUNT = 0
    assert main(certified) == 0
    assert theirs_of_sandwich.COUNT < 30
    pd.testing.assert_frame_equal(read_sandwiches(place / "out"), frame)
