"""One pass over images in batches: whatever the cut, the numbers are those of the formula on all images at once."""

import math
import pickle

import pytest
import torch
from torch import nn

from diffstab.errors import ArgumentError, FoldingWarning
from diffstab.stability import LayerPass, diffeomorphism, numbered_pairs, random_rotation
from diffstab.stability.layer_pass import FIRST_LOOK
from tests.references.passes import COUNT, by_formula, floats, images, linear, measured, small_net


@pytest.mark.parametrize("sizes", [(1,), (7,), (64,), (COUNT,), (3, 50, 1)])
def test_every_cut_gives_what_the_formula_gives_on_all_images(sizes):
    net, x = small_net(), images()
    sums = measured(net, x, sizes, layers=["0", "1", "4", ""], fields_per_image=2).sums()
    # "1" before the ReLU that works in place on its output
    parts = {"0": net[0], "1": net[:2], "4": net, "": net}
    for name, part in parts.items():
        expected = by_formula(part, x, fields_per_image=2)
        assert floats(sums[0, name].stability()) == pytest.approx(expected, rel=1e-10)


def test_single_precision_keeps_five_digits():
    net, x = small_net(torch.float32), images(torch.float32)
    wanted = {name: by_formula(part, x) for name, part in (("0", net[0]), ("", net))}
    for sizes in ((1,), (7,), (64,)):
        sums = measured(net, x, sizes, layers=["0", ""]).sums()
        for name, expected in wanted.items():
            assert floats(sums[0, name].stability()) == pytest.approx(expected, rel=1e-5)


def test_what_each_image_gives_does_not_depend_on_the_cut():
    net, x = small_net(), images()
    one = measured(net, x, (1,)).sums()[0, ""]
    for sizes in ((7,), (64,), (COUNT,)):
        other = measured(net, x, sizes).sums()[0, ""]
        torch.testing.assert_close(other.per_image, one.per_image, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(other.spread, one.spread, rtol=1e-9, atol=1e-12)


def test_order_and_processes_change_nothing():
    net, x = small_net(), images()
    whole = measured(net, x, (8,)).result()
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    shuffled = measured(net, x[order], (8,), numbers=order).result()
    shares = [measured(net, x[r::2], (8,), numbers=torch.arange(COUNT)[r::2]).result() for r in range(2)]
    for other in (shuffled, shares[0].merged(shares[1]), shares[1].merged(shares[0])):
        assert torch.equal(other.numbers, whole.numbers)
        assert floats(other.sums[0, ""].stability()) == pytest.approx(
            floats(whole.sums[0, ""].stability()), rel=1e-10
        )
        assert torch.allclose(other.draws[0].deformation_norms, whole.draws[0].deformation_norms, rtol=1e-12)
        # what each image gives is in its place
        changes = other.sums[0, ""].per_image[:, :2], whole.sums[0, ""].per_image[:, :2]
        torch.testing.assert_close(*changes, rtol=1e-9, atol=1e-12)


def test_images_that_two_processes_have_are_refused():
    net, x = small_net(), images()
    part = measured(net, x[:70], (8,)).result()
    with pytest.raises(ArgumentError, match="other must have other images"):
        part.merged(measured(net, x[:3], (8,)).result())


def test_several_deformations_are_measured_as_each_alone():
    net, x = small_net(), images()
    both = [diffeomorphism(0.3), random_rotation(5.0)]
    together = measured(net, x, (10,), deformations=both, fields_per_image=2)
    for place, deformation in enumerate(both):
        alone = measured(net, x, (64,), deformations=[deformation], fields_per_image=2)
        assert floats(together.sums()[place, ""].stability()) == pytest.approx(
            floats(alone.sums()[0, ""].stability()), rel=1e-10
        )
        assert together.draws()[place].mean_noise_norm == pytest.approx(alone.draws()[0].mean_noise_norm)


def test_the_output_on_the_images_comes_back():
    net, x = small_net(), images()
    with torch.no_grad():
        expected = net(x)
    for size in (1, 7, 64, COUNT):
        with LayerPass(net, layers=["0"], deformations=[diffeomorphism(0.3)]) as measuring:
            outputs = [
                measuring.update(part, numbers)
                for part, numbers in zip(torch.split(x, size), torch.split(torch.arange(COUNT), size))
            ]
        torch.testing.assert_close(torch.cat(outputs), expected, rtol=1e-10, atol=1e-12)


def test_a_linear_layer_gives_what_algebra_gives():
    """D, G and R of f = W x from the covariance of the images and of what deformation and noise add to them."""
    x = images()
    weight = torch.randn(3, 144, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    layer = linear(144, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
    probes = numbered_pairs(x, torch.arange(COUNT), deform=diffeomorphism(0.3), seed=0)
    flat = [part.reshape(COUNT, 144) for part in (x, probes.deformed[0], probes.noisy[0])]
    covariance = torch.cov(flat[0].T)
    quadratic = weight.T @ weight
    moments = [(part - flat[0]).T @ (part - flat[0]) / COUNT for part in flat[1:]]
    changes = [float((quadratic * moment).sum()) for moment in moments]
    denominator = 2 * float((quadratic * covariance).sum())
    found = measured(nn.Sequential(nn.Flatten(), layer), x, (7,), layers=["1"]).sums()[0, "1"].stability()
    expected = [changes[0] / denominator, changes[1] / denominator, changes[0] / changes[1]]
    assert floats(found[:3]) == pytest.approx(expected, rel=1e-10)


def test_preprocessing_comes_after_the_deformation():
    net, x = small_net(), images()

    def brighter(batch):
        return batch.sub_(0.5).mul_(3)  # in place: the images of others stay

    found = measured(net, x, (7,), preprocessing=brighter).sums()[0, ""].stability()
    assert floats(found) == pytest.approx(by_formula(lambda v: net((v - 0.5) * 3), x), rel=1e-10)
    assert torch.equal(x, images())


def test_intermediate_layers_are_those_of_the_truncated_net():
    net, x = small_net(), images()
    sums = measured(net, x, (16,), layers=["0", "2"]).sums()
    for name, part in (("0", net[:1]), ("2", net[:3])):
        truncated = measured(part, x, (16,)).sums()[0, ""]
        torch.testing.assert_close(sums[0, name].per_image, truncated.per_image, rtol=1e-10, atol=1e-12)


class Rows(nn.Module):
    """Rows of an image as tokens: tokens first, images second, as recurrent layers have them; or windows of images."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.rows = kind, nn.Identity()

    def forward(self, x):
        rows = x.flatten(1, 2).tanh()  # (n, 12, 12)
        if self.kind == "sequence first":
            rows = self.rows(rows.transpose(0, 1))
            return rows.transpose(0, 1)
        if self.kind == "windows":
            return self.rows(rows.reshape(-1, 4, 12)).reshape(len(x), 12, 12)
        if self.kind == "windows of all images":
            return self.rows(rows.transpose(0, 1).reshape(-1, 12)).reshape(12, len(x), 12).transpose(0, 1)
        return self.rows(rows.sum(dim=0)).expand(len(x), -1, -1)


@pytest.mark.parametrize("kind", ["sequence first", "windows"])
@pytest.mark.parametrize("sizes", [(1,), (4,), (12,), (64,)])
def test_convention_images_may_lie_along_any_axis(kind, sizes):
    # with 12 images in a forward the axes of tokens and images may be equally long
    sums = measured(Rows(kind), images(), sizes, layers=["rows", ""]).sums()
    torch.testing.assert_close(sums[0, "rows"].per_image, sums[0, ""].per_image, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["windows of all images", "sum"])
def test_outputs_that_mix_images_are_refused_by_name(kind):
    with pytest.raises(ArgumentError, match="output of 'rows' must have one axis that runs over the images"):
        measured(Rows(kind), images(), (16,), layers=["rows"])


def test_large_and_small_activations_keep_their_squares():
    x = images(torch.float32, size=80, count=12)  # 6400 features: not small
    for factor in (1e-25, 1e25):
        net = nn.Sequential(nn.Flatten(), linear(1, 1))
        net[1].forward = lambda v, factor=factor: v * factor
        found = measured(net, x, (5,)).sums()[0, ""].stability()
        plain = measured(nn.Flatten(), x, (5,)).sums()[0, ""].stability()
        assert floats(found[:3]) == pytest.approx(floats(plain[:3]), rel=1e-5)


def test_a_large_mean_does_not_cancel():
    x = images(torch.float32, size=80, count=12)
    found = measured(lambda v: v.flatten(1) + 1000, x, (5,)).sums()[0, ""]
    with torch.no_grad():
        shifted = x.flatten(1) + 1000
    assert float(found.denominator) == pytest.approx(2 * float(shifted.double().var(dim=0).sum()), rel=1e-5)


def test_a_constant_layer_has_no_spread_to_the_bit():
    net = nn.Sequential(nn.Flatten(), linear(144, 5000).double(), linear(5000, 2).double())
    nn.init.zeros_(net[1].weight)
    sums = measured(net, images(), (7,), layers=["0", "1", "2"]).sums()
    assert float(sums[0, "1"].denominator) == float(sums[0, "2"].denominator) == 0
    assert all(math.isnan(value) for value in floats(sums[0, "1"].ratios()[:3]))
    assert float(sums[0, "0"].denominator) > 0


def test_strong_deformations_are_told_once():
    with pytest.warns(FoldingWarning, match="drawn fields fold") as caught:
        measured(nn.Flatten(), images(), (10,), deformations=[diffeomorphism(2.0)])
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("batch", "numbers", "message"),
    [
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), [0, 1], "images must be floating, of shape"),
        (torch.zeros(0, 1, 8, 8), [], "images must be floating, of shape"),
        (torch.zeros(2, 1, 8, 8), [0, 0], "numbers must be different integers of at least 0"),
        (torch.zeros(2, 1, 8, 8), [-1, 0], "numbers must be different integers of at least 0"),
        (torch.zeros(2, 1, 8, 8), [0.0, 1.0], "numbers must be integers, one for each of 2 images"),
        (torch.zeros(2, 1, 8, 8), [0], "numbers must be integers, one for each of 2 images"),
        (torch.zeros(2, 1, 8, 8), [5, 6], r"numbers must be different in all batches, got \[5\]"),
    ],
)
def test_bad_batches_are_refused(batch, numbers, message):
    measuring = LayerPass(nn.Flatten(), deformations=[diffeomorphism()])
    measuring.update(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)), [5])
    with pytest.raises(ArgumentError, match=message):
        measuring.update(batch, torch.tensor(numbers))


def test_no_images_have_no_sums():
    with pytest.raises(ArgumentError, match="images must be one or more, got none"):
        LayerPass(nn.Flatten(), deformations=[diffeomorphism()]).sums()


def test_images_that_cannot_be_deformed_are_refused():
    measuring = LayerPass(nn.Flatten(), deformations=[diffeomorphism()])
    with pytest.raises(ArgumentError, match=r"images must have shape \(n, C, H, W\)"):
        measuring.update(torch.zeros(FIRST_LOOK, 8), torch.arange(FIRST_LOOK))


def test_the_noise_of_a_batch_is_that_of_the_call():
    x = images()
    found = measured(small_net(), x, (COUNT,), noise="batch")
    draw = found.draws()[0]
    assert torch.allclose(draw.noise_norms, draw.deformation_norms.mean().expand(COUNT, 1), rtol=1e-12)
    assert floats(found.sums()[0, ""].stability()) == pytest.approx(
        by_formula(small_net(), x, noise="batch"), rel=1e-10
    )


def test_passes_that_look_at_the_same_images_merge_exactly():
    net, x = small_net(), images()
    whole = measured(net, x, (8,), look=x[:20]).result().sums[0, ""]
    shares = [
        measured(net, x[r::3], (8,), numbers=torch.arange(COUNT)[r::3], look=x[:20]).result()
        for r in range(3)
    ]
    merged = shares[2].merged(shares[0]).merged(shares[1]).sums[0, ""]
    torch.testing.assert_close(merged.per_image, whole.per_image, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(merged.spread, whole.spread, rtol=1e-9, atol=1e-12)


def test_later_fields_are_other_draws():
    net, x = small_net(), images()
    two = measured(net, x, (16,), fields_per_image=2)
    parts = [measured(net, x, (16,), first_field=field) for field in (0, 1)]
    mean = sum(part.sums()[0, ""].per_image for part in parts) / 2
    torch.testing.assert_close(two.sums()[0, ""].per_image, mean, rtol=1e-9, atol=1e-12)
    assert not torch.equal(*[part.sums()[0, ""].per_image for part in parts])


def test_a_pass_can_be_pickled_with_its_sums():
    found = measured(small_net(), images(), (16,), deformations=[diffeomorphism(0.3), random_rotation(3.0)])
    copy = pickle.loads(pickle.dumps(found.result()))
    assert floats(copy.sums[1, ""].stability()) == floats(found.sums()[1, ""].stability())
