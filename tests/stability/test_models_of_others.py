"""Passes over models as people have them: transformers, recurrent nets, outputs in classes, resizing."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from diffstab.errors import ArgumentError
from diffstab.stability import LayerPass, diffeomorphism, numbered_pairs, stability

COUNT = 30


def images():
    return torch.rand(COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def measured(net, layers=("",), size=7, **options):
    with LayerPass(net, layers=layers, deformations=[diffeomorphism(0.5)], **options) as measuring:
        for numbers in torch.arange(COUNT).split(size):
            measuring.update(images()[numbers], numbers)
    return {name: sums.stability() for (_, name), sums in measuring.sums().items()}


def floats(values):
    return [float(value) for value in values]


def by_formula(part):
    """From outputs on all images at once, images first."""
    probes = numbered_pairs(images(), torch.arange(COUNT), deform=diffeomorphism(0.5), seed=0)
    with torch.no_grad():
        return floats(stability(part(probes.clean), part(probes.deformed[0]), part(probes.noisy[0])))


def transformer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"hidden_dim": 8, "mlp_dim": 16, "num_classes": 5}
        net = VisionTransformer(image_size=16, patch_size=4, num_layers=2, num_heads=2, **sizes)
        nn.init.normal_(net.heads.head.weight)
    return net.double()


def tokens_after(net, layers):
    """The tokens of a transformer after some of its layers, by its parts."""

    def run(x):
        tokens = net._process_input(x)
        tokens = (
            torch.cat([net.class_token.expand(len(x), -1, -1), tokens], dim=1) + net.encoder.pos_embedding
        )
        for layer in list(net.encoder.layers)[:layers]:
            tokens = layer(tokens)
        return tokens

    return run


def test_the_tokens_of_a_transformer():
    net = transformer()
    names = [f"encoder.layers.encoder_layer_{layer}" for layer in range(2)]
    found = measured(net.train(), [*names, "heads", "encoder.ln", "heads.head:input", ""])
    net.eval()
    for layer, name in enumerate(names):
        assert floats(found[name]) == pytest.approx(by_formula(tokens_after(net, layer + 1)), rel=1e-9)
    first = by_formula(lambda x: net.encoder.ln(tokens_after(net, 2)(x))[:, 0])
    assert floats(found["heads.head:input"]) == pytest.approx(first, rel=1e-9)
    assert floats(found[""]) == floats(found["heads"]) == pytest.approx(by_formula(net), rel=1e-9)


def test_attention_returns_a_pair_and_says_how_to_take_it():
    net, name = transformer(), "encoder.layers.encoder_layer_0.self_attention"
    with pytest.raises(ArgumentError, match=rf"output of '{name}' must be a tensor, got tuple.*output={{"):
        measured(net, [name])
    picked = measured(net, [name], output={name: lambda out: out[0]})[name]
    assert float(picked.deformation) > 0
    # its projection is a module that attention reads the weights of and never calls
    with pytest.raises(ArgumentError, match=r"layers must be modules that the model runs, got .*out_proj"):
        measured(net, [f"{name}.out_proj"])


@dataclass
class Outputs:
    logits: torch.Tensor
    hidden: torch.Tensor


class Recurrent(nn.Module):
    """Rows of an image as a sequence: the images are the second axis of what the recurrent layer gives."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.recurrent, self.norm, self.head = nn.LSTM(48, 6), nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, x):
        rows = x.permute(2, 0, 1, 3).flatten(2)  # (rows, images, channels * columns)
        hidden = self.norm(self.recurrent(rows)[0])
        return Outputs(self.head(hidden[-1]), hidden)


@pytest.mark.parametrize("size", [1, 7, 16])
def test_a_recurrent_net_with_a_class_of_outputs(size):
    net = Recurrent().double()
    pick = {"": lambda out: out.logits, "recurrent": lambda out: out[0]}
    found = measured(net, ["", "norm", "recurrent"], size=size, output=pick)
    assert floats(found[""]) == pytest.approx(by_formula(lambda x: net(x).logits), rel=1e-9)
    hidden = by_formula(lambda x: net(x).hidden.transpose(0, 1))
    assert floats(found["norm"]) == pytest.approx(hidden, rel=1e-9)
    with pytest.raises(ArgumentError, match="output of the model must be a tensor, got Outputs"):
        measured(net)
    with pytest.raises(
        ArgumentError, match=r"output of the model must have shape \(30, \.\.\.\) for 30 images"
    ):
        measured(net, ["norm"], output=lambda out: out.hidden, size=COUNT)


def test_models_that_resize_and_work_in_place():
    def resized(batch):
        batch.sub_(0.5)
        return nn.functional.interpolate(batch, size=8, mode="bilinear", antialias=True)

    net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten())
    before = images()
    found = measured(net, ["0", "1"], preprocessing=resized)
    expected = by_formula(lambda x: resized(x.clone()).relu().flatten(1))
    assert floats(found["0"]) == pytest.approx(expected, rel=1e-9)
    assert floats(found["1"]) == pytest.approx(expected, rel=1e-9)
    assert torch.equal(images(), before)
    with pytest.raises(ArgumentError, match="preprocessing must return a tensor, got tuple"):
        measured(net, preprocessing=lambda batch: (batch,))


def test_functions_that_hold_a_model_are_evaluated_like_it():
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(768), nn.Dropout(0.5), nn.Linear(768, 2)).double()
    found = measured(lambda batch: net(batch).softmax(dim=1))[""]
    assert net.training
    assert int(net[1].num_batches_tracked) == 0
    net.eval()
    assert floats(found) == pytest.approx(by_formula(lambda x: net(x).softmax(dim=1)), rel=1e-9)
