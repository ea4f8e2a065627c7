"""The tree-shaped net against a loop over patches."""

import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.nets import TreeNet


def test_it_joins_patches_level_by_level():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TreeNet(3, patch=2, depth=2, width=5, out_features=4)
        x = torch.randn(6, 3, 1, 8)
    nodes = [3**0.5 * x[..., 0, place] for place in range(8)]
    for layer in net.layers:
        weight, bias = layer[0].weight[:, :, 0], layer[0].bias
        nodes = [
            (weight[..., 0] @ left.T + weight[..., 1] @ right.T + bias[:, None]).clamp(min=0).T
            for left, right in zip(nodes[::2], nodes[1::2], strict=True)
        ]
    assert len(nodes) == 2
    expected = net.head(sum(nodes) / 2)
    torch.testing.assert_close(net(x), expected, rtol=1e-5, atol=1e-5)


def test_activations_of_one_hot_strings_keep_their_size_from_layer_to_layer():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = TreeNet(8, patch=2, depth=3, width=4000)
        x = torch.nn.functional.one_hot(torch.randint(8, (20, 8)), 8).float().permute(0, 2, 1)[:, :, None]
    activations = 8**0.5 * x
    for layer in net.layers:
        activations = layer(activations).detach()
        # He's weights give pre-activations of variance 2, and relu halves their square.
        assert float(activations.square().mean()) == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("shape", [(2, 8, 1, 6), (2, 8, 1, 0), (2, 8, 4)])
def test_places_that_no_patch_would_see_are_refused(shape):
    with torch.random.fork_rng():
        net = TreeNet(8, patch=2, depth=2)
    with pytest.raises(ArgumentError, match=r"places a multiple of patch\^depth = 4"):
        net(torch.zeros(shape))


def test_sizes_below_one_are_refused():
    with pytest.raises(ArgumentError, match="sizes of TreeNet must be at least 1 each"):
        TreeNet(depth=0)
