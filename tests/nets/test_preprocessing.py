import pytest
import torch
from torchvision import models
from torchvision.transforms.functional import normalize

from diffstab.errors import ArgumentError
from diffstab.nets import Preprocessing
from diffstab.nets.preprocessing import timm_preprocessing, torchvision_preprocessing


@pytest.fixture
def images(generator):
    return torch.rand(2, 3, 40, 50, generator=generator)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "swin_t", "deeplabv3_resnet50"])
def test_it_is_what_the_weights_of_torchvision_ask_for(name, images):
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    torch.testing.assert_close(torchvision_preprocessing(transforms)(images), transforms(images))


def test_detection_has_none_and_video_is_refused():
    weights = models.get_model_weights("fasterrcnn_resnet50_fpn").DEFAULT
    assert torchvision_preprocessing(weights.transforms()).is_identity
    with pytest.raises(ArgumentError, match="transforms of an image, got VideoClassification"):
        torchvision_preprocessing(models.get_model_weights("r3d_18").DEFAULT.transforms())


def test_every_image_model_of_torchvision_has_one_that_is_known():
    names = models.list_models(module=models)
    for name in names:
        for weights in models.get_model_weights(name):
            found = torchvision_preprocessing(weights.transforms())
            assert found.input_size is not None
            assert found.mean is not None


def test_timm_configurations(images):
    config = {
        "input_size": (3, 24, 24),
        "crop_pct": 0.875,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.2, 0.2),
        "interpolation": "bicubic",
    }
    found = timm_preprocessing(config)
    assert (found.resize, found.crop, found.interpolation) == (27, (24, 24), "bicubic")
    assert timm_preprocessing({**config, "crop_mode": "squash"}).resize == (27, 27)
    with pytest.raises(ArgumentError, match="center or squash, got 'border'"):
        timm_preprocessing({**config, "crop_mode": "border"})


def test_convention_scale_comes_before_mean_and_std(images):
    """EfficientNet-Lite: (x - 127) / 128 of pixels from 0 to 255."""
    found = Preprocessing(scale=255, mean=127, std=128)(images)
    torch.testing.assert_close(found, (images * 255 - 127) / 128)


def test_convention_channels_are_reversed_before_mean_and_std(images):
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    found = Preprocessing(mean=mean, std=std, channels="bgr")(images)
    torch.testing.assert_close(found, normalize(images[:, [2, 1, 0]], mean, std))


def test_gradients_pass_and_images_stay(images):
    images.requires_grad_()
    before = images.detach().clone()
    Preprocessing(resize=16, crop=12, mean=(0.1, 0.2, 0.3), std=2.0)(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert torch.equal(images.detach(), before)


def test_types_of_images_stay(images):
    for dtype in (torch.float64, torch.bfloat16):
        assert Preprocessing(mean=(0.1, 0.2, 0.3), std=0.5)(images.to(dtype)).dtype == dtype


def test_no_preprocessing_hands_images_on(images):
    assert Preprocessing().is_identity
    assert Preprocessing()(images) is images
    assert str(Preprocessing()) == "none"


def test_it_says_what_it_does():
    text = str(Preprocessing(resize=256, crop=224, mean=(0.5, 0.25, 1), std=0.5))
    assert text == "resize 256, crop 224, mean (0.5, 0.25, 1), std (0.5)"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        pytest.param({"std": 0.0}, "std must be positive"),
        pytest.param({"std": (1, -1, 1)}, "std must be positive"),
        pytest.param({"mean": (1, 2), "std": (1, 2, 3)}, "one number for each channel"),
        pytest.param({"mean": ()}, "finite numbers"),
        pytest.param({"scale": -1}, "scale must be positive"),
        pytest.param({"resize": (1, 2, 3)}, "resize must be one or two whole numbers"),
        pytest.param({"crop": 0.5}, "crop must be one or two whole numbers"),
        pytest.param({"channels": "gbr"}, "channels must be rgb or bgr"),
        pytest.param({"interpolation": "nearest"}, "interpolation must be bilinear or bicubic"),
    ],
)
def test_values_out_of_range(options, match):
    with pytest.raises(ArgumentError, match=match):
        Preprocessing(**options)


def test_grey_images_are_not_taken_for_three_channels(images):
    with pytest.raises(ArgumentError, match="3 channels of mean and std, got 1"):
        Preprocessing(mean=(0.1, 0.2, 0.3))(images[:, :1])
    with pytest.raises(ArgumentError, match=r"floating, of shape \(n, C, H, W\)"):
        Preprocessing()((images * 255).byte())
