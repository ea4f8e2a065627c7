import pytest
import torch

from diffstab.errors import ArgumentError
from diffstab.nets import CNN


def test_it_takes_images_of_any_size_one_by_one(generator):
    with torch.random.fork_rng():
        net = CNN(3, (4, 8), out_features=5)
    for size in (4, 9, 28):
        images = torch.randn(6, 3, size, size, generator=generator)
        outputs = net(images)
        assert outputs.shape == (6, 5)
        torch.testing.assert_close(outputs[:2], net(images[:2]))


def test_convention_the_mean_over_space_forgets_where_things_are(generator):
    with torch.random.fork_rng():
        net = CNN(1, (3,), out_features=2)
    image = torch.zeros(1, 1, 20, 20)
    image[:, :, 4:8, 4:8] = torch.randn(4, 4, generator=generator)
    torch.testing.assert_close(net(image), net(image.roll((6, 8), (2, 3))))


@pytest.mark.parametrize("options", [{"channels": ()}, {"channels": (0,)}, {"in_channels": 0}])
def test_sizes_are_positive(options):
    with pytest.raises(ArgumentError, match="channels must be at least one size"):
        CNN(**options)
