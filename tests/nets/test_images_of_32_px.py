"""LeNet, VGG and the residual nets."""

import pytest
import torch
from torch.nn import functional

from diffstab.errors import ArgumentError
from diffstab.nets import VGG, LeNet, ResNet, load_model
from diffstab.nets.initial import initial_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def by_hand(state, x, *, blocks):
    """The residual net as a formula of its state dict, in eval mode."""

    def normal(x, name):
        statistics = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return functional.batch_norm(x, *statistics, state[f"{name}.weight"], state[f"{name}.bias"])

    x = normal(functional.conv2d(x, state["conv1.weight"], padding=1), "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and not block else 1
            y = functional.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = functional.conv2d(
                normal(y, f"{name}.bn1").clamp(min=0), state[f"{name}.conv2.weight"], padding=1
            )
            y, x = normal(y, f"{name}.bn2"), x[:, :, ::stride, ::stride]
            missing = (y.shape[1] - x.shape[1]) // 2
            zeros = x.new_zeros(len(x), missing, *x.shape[2:])
            x = (y + torch.cat([zeros, x, zeros], 1)).clamp(min=0)
    return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


def trained_statistics(net, generator):
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return net.eval()


@pytest.mark.parametrize(("depth", "size"), [(8, 32), (14, 28)])
def test_the_residual_net_is_its_formula(depth, size, generator):
    with initial_weights(0):
        net = trained_statistics(ResNet(1, depth, width=4, out_features=3), generator)
    images = torch.rand(3, 1, size, size, generator=generator)
    expected = by_hand(net.state_dict(), images, blocks=(depth - 2) // 6)
    torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("depth", "weights"), [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018)])
def test_it_has_as_many_weights_as_published(depth, weights):
    """0.27, 0.46, 0.66 and 0.85 million in table 6 of He et al."""
    with initial_weights(0):
        assert sum(parameter.numel() for parameter in ResNet(3, depth).parameters()) == weights


@pytest.mark.parametrize("depth", [19, 2, 22])
def test_there_are_nets_of_some_depths_only(depth):
    with pytest.raises(ArgumentError, match="depth must be 6 m"):
        ResNet(3, depth)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 32])
def test_all_take_small_images_of_any_channels_and_give_any_outputs(channels, size, generator):
    images = torch.rand(2, channels, size, size, generator=generator)
    with initial_weights(0):
        nets = [ResNet(channels, 8, out_features=7), VGG(channels, out_features=7)]
        nets.append(LeNet(channels, size, out_features=7))
    assert [net(images).shape for net in nets] == [(2, 7)] * 3


def test_lenet_has_the_sizes_of_the_paper_at_32_px():
    """61,706 weights of the net with 6 and 16 feature maps, fully connected between them, and 10 outputs."""
    with initial_weights(0):
        net = LeNet(1, 32)
    assert sum(parameter.numel() for parameter in net.parameters()) == 61_706


def test_lenet_refuses_images_of_another_size(generator):
    with initial_weights(0):
        net = LeNet(1, 28)
    with pytest.raises(ArgumentError, match="28 x 28 pixels"):
        net(torch.rand(2, 1, 32, 32, generator=generator))


@pytest.mark.parametrize(
    "make", [lambda: VGG(3, ()), lambda: VGG(convolutions=0), lambda: LeNet(0), lambda: LeNet(1, 12)]
)
def test_sizes_that_make_no_net(make):
    with pytest.raises(ArgumentError, match="be at least"):
        make()


def test_vgg_without_batch_normalisation_has_biases():
    with initial_weights(0):
        names = VGG(1, (4,), batch_norm=False).state_dict().keys()
    assert names == {
        f"{layer}.{part}" for layer in ("features.0.0", "features.0.2", "head") for part in ("weight", "bias")
    }


@pytest.mark.data
@pytest.mark.parametrize(("file", "depth"), [("resnet20-12fca82f.th", 20), ("resnet44-014dd654.th", 44)])
def test_trained_nets_are_as_good_as_they_are_said_to_be(file, depth, data_root):
    """8.3 and 6.9 % on the original images, some 10 points more on JPEG copies; of 500 of them 3 deviations are 5."""
    path = data_root / "nets" / file
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    from datamodules import ImageFolder

    data = ImageFolder(
        folder="cifar10-jpeg",
        labels="classes",
        normalisation="none",
        n_train=10,
        n_test=500,
        root=str(data_root),
    )
    data.setup()
    model = load_model(
        "diffstab.nets:ResNet",
        init_args={"depth": depth},
        weights=path,
        preprocessing={"mean": MEAN, "std": STD},
    )
    with torch.no_grad():
        wrong = model(data.test_images).argmax(1) != data.test_labels
    assert 0.12 < float(wrong.float().mean()) < 0.24
    assert model.notes == (f"'module.' was taken off the names in {file}.",)
