"""Each thing that can be wrong with a model or its input is named, and a right one gives no alarm."""

import json

import pytest
import torch
from PIL import Image
from torch import nn

from diffstab.cli import main
from diffstab.errors import ArgumentError
from diffstab.measuring.audit import audit
from diffstab.nets import LoadedModel, Preprocessing, load_model
from diffstab.nets.initial import initial_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def images(generator):
    """Images of three classes, told apart by their colours and stripes, in [0, 1]."""
    labels = torch.arange(120) % 3
    colours = torch.tensor([[0.8, 0.3, 0.2], [0.3, 0.7, 0.3], [0.4, 0.4, 0.7]])[labels]
    stripes = 0.15 * torch.sin(torch.arange(12.0))[None, None, None, :]
    noise = 0.05 * torch.randn(120, 3, 12, 12, generator=generator)
    return (colours[:, :, None, None] + stripes + noise).clamp(0, 1), labels


@pytest.fixture
def trained(images):
    """A small net with batch normalisation, trained on normalised images."""
    pixels, labels = images
    x = Preprocessing(mean=MEAN, std=STD)(pixels)
    with initial_weights(0), torch.enable_grad():
        net = nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=0.3), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(8, 3)),
        )
        optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
        for _ in range(40):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), labels).backward()
            optimiser.step()
    return net.eval()


def loaded(net, **preprocessing):
    return LoadedModel(net, "net", "net", preprocessing=Preprocessing(**preprocessing))


def by_check(report):
    return {finding.check: finding for finding in report.findings}


def alarms(report):
    return [finding.check for finding in report.alarms]


def test_the_right_input_gives_no_alarm(trained, images):
    report = audit(loaded(trained, mean=MEAN, std=STD), *images)
    assert alarms(report) == []
    assert report.accuracy > 0.95
    assert "3 scores (logits)" in by_check(report)["output"].text
    assert "1 BatchNorm layer and 1 dropout layer" in by_check(report)["mode"].text
    assert alarms(audit(loaded(trained, mean=MEAN, std=STD), images[0])) == []


@pytest.mark.parametrize("labelled", [True, False])
def test_missing_mean_and_std_are_named_with_their_options(labelled, trained, images):
    report = audit(loaded(trained), images[0], images[1] if labelled else None)
    finding = by_check(report)["input"]
    assert finding.level == "alarm"
    assert "ImageNet's mean and std" in finding.text
    assert "--mean 0.485 0.456 0.406 --std 0.229 0.224 0.225" in finding.text


def test_a_model_of_0_to_255_given_images_in_0_to_1(images):
    pixels, labels = images
    half = load_model("tests.measuring.test_audit:Colours")
    assert half(pixels).argmax(1).eq(labels).double().mean() < 0.5
    finding = by_check(audit(half, pixels, labels))["input"]
    assert finding.level == "alarm"
    assert "pixels from 0 to 255" in finding.text
    assert "--scale 255" in finding.text


class Colours(nn.Module):
    """Right on pixels from 0 to 255: which channel is brightest, less what its bias takes off."""

    def forward(self, x):
        means = x.mean((2, 3)) - 60
        return torch.where(means.amax(1, keepdim=True) < 0, torch.zeros_like(means), means)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_channels_in_the_wrong_order_are_named(order, trained, images):
    pixels, labels = images
    given = pixels.flip(1) if order == "bgr" else pixels
    report = audit(loaded(trained, mean=MEAN, std=STD), given, labels)
    assert (order == "bgr") == ("Use --channels bgr" in by_check(report)["input"].text)
    assert (order == "bgr") == bool(report.alarms)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: 255 * x, "divide them by 255"),
        (lambda x: x / 255, "divided by 255 twice"),
        (lambda x: (x - 0.5) / 0.5, "normalised already"),
    ],
)
def test_ranges_of_the_images(change, match, trained, images):
    report = audit(loaded(trained, mean=MEAN, std=STD), change(images[0]), images[1])
    assert match in by_check(report)["input"].text
    assert "input" in alarms(report)


def test_values_other_than_those_of_the_weights(trained, images):
    own = Preprocessing(mean=MEAN, std=STD, crop=12)
    model = LoadedModel(trained, "net", "net", preprocessing=Preprocessing(mean=0.5, std=STD), expected=own)
    texts = [finding.text for finding in audit(model, *images).findings]
    assert any(text.startswith("mean is not what the weights' own transforms have") for text in texts)


def test_the_size_in_training(trained, images):
    model = loaded(trained, mean=MEAN, std=STD)
    assert by_check(audit(model, *images, train_size=12))["size"].text.endswith("12 x 12 px, as in training.")
    finding = by_check(audit(model, *images, train_size=(32, 16)))["size"]
    assert (finding.level, "32 x 16: set --resize and --crop" in finding.text) == ("alarm", True)


def test_another_order_of_the_classes(trained, images):
    pixels, labels = images
    finding = by_check(audit(loaded(trained, mean=MEAN, std=STD), pixels, (labels + 1) % 3))["accuracy"]
    assert finding.level == "alarm"
    assert "with the classes in another order" in finding.text


def test_an_untrained_net_and_labels_of_other_classes(images):
    pixels, labels = images
    with initial_weights(0):
        net = nn.Sequential(nn.Flatten(), nn.Linear(432, 3)).eval()
    assert "accuracy" in alarms(audit(loaded(net), pixels, labels.flip(0) * 0 + torch.arange(120) // 40))
    assert "output has 3 classes" in by_check(audit(loaded(net), pixels, labels + 5))["accuracy"].text


class Wrapped(nn.Module):
    """A net with one habit more."""

    def __init__(self, net, change):
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x):
        return self.change(self.net, x)


def in_place(net, x):
    output = net(x)
    x.zero_()
    return output


@pytest.mark.parametrize(
    ("change", "check", "level", "match"),
    [
        (lambda net, x: net(x).softmax(1), "output", "note", "Probabilities"),
        (lambda net, x: net(x).log_softmax(1), "output", "note", "Logarithms of probabilities"),
        (lambda net, x: net(x)[:, :1], "output", "ok", "One score"),
        (lambda net, x: x, "output", "note", "A map of shape 3 x 12 x 12"),
        (lambda net, x: net(x) * 0 + 2, "output", "alarm", "model is dead"),
        (lambda net, x: net(x) * torch.nan, "output", "alarm", "NaN or infinite on 100% of the images"),
        (
            lambda net, x: net(x) + torch.rand(len(x), 3),
            "steadiness",
            "alarm",
            "two calls on the same images differ",
        ),
        (
            lambda net, x: net(x) - net(x).mean(0),
            "steadiness",
            "alarm",
            "hang on the other images of the batch",
        ),
        (in_place, "in place", "note", "changes its input in place"),
    ],
)
def test_habits_are_told(change, check, level, match, trained, images):
    report = audit(loaded(Wrapped(trained, change), mean=MEAN, std=STD), images[0])
    found = [finding for finding in report.findings if finding.check == check]
    assert any(match in finding.text and finding.level == level for finding in found), found


def test_the_module_that_is_random_or_looks_at_its_batch_is_named(trained, images):
    class Noisy(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    model = nn.Sequential(*trained[:3], Noisy(), *trained[3:]).eval()
    text = by_check(audit(loaded(model, mean=MEAN, std=STD), images[0]))["steadiness"].text
    assert "first at '3' (Noisy)" in text
    norm = nn.BatchNorm2d(8, track_running_stats=False)
    model = nn.Sequential(trained[0], norm, *trained[2:]).eval()
    text = by_check(audit(loaded(model, mean=MEAN, std=STD), images[0]))["steadiness"].text
    assert "first at '1' (BatchNorm2d)" in text


@pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated")
@pytest.mark.parametrize("kind", ["net.pt2", "fixed.pt2", "net.pt"])
def test_models_in_files_are_looked_at_too(kind, trained, images, tmp_path):
    path, example = tmp_path / kind, images[0][:2]
    if kind.endswith("pt2"):
        sides = ({0: torch.export.Dim("n", min=1)},) if kind == "net.pt2" else None
        torch.export.save(torch.export.export(trained, (example,), dynamic_shapes=sides), path)
    else:
        torch.jit.script(trained).save(path)
    report = audit(load_model(str(path), preprocessing={"mean": MEAN, "std": STD}), *images)
    assert report.alarms == ()
    assert report.accuracy > 0.95
    assert "no --scale" not in str(report)


def test_a_model_in_double_precision(trained, images):
    report = audit(loaded(trained.double(), mean=MEAN, std=STD), *images)
    assert report.alarms == ()


def test_a_model_that_fails_is_told_with_the_shape(trained, images):
    with pytest.raises(ArgumentError, match="model must run on images of 1 x 12 x 12, got RuntimeError"):
        audit(loaded(trained), images[0][:, :1])


def test_dead_numbers_are_counted(trained, images):
    report = audit(
        loaded(
            Wrapped(trained, lambda net, x: torch.cat([net(x), x.new_ones(len(x), 2)], 1)), mean=MEAN, std=STD
        ),
        images[0],
    )
    assert any("2 of 5 numbers never change" in finding.text for finding in report.findings)


def test_the_model_is_left_as_it_was(trained, images):
    trained.train()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    state, copy = torch.get_rng_state(), images[0].clone()
    report = audit(loaded(trained, mean=MEAN, std=STD), *images)
    assert any("Handed over in train mode" in finding.text for finding in report.findings)
    assert trained[1].training
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in trained.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(copy, images[0])


def test_what_cannot_be_looked_at(trained, images):
    pixels, labels = images
    with pytest.raises(ArgumentError, match="images must be at least 8, floating"):
        audit(loaded(trained), pixels[:3])
    with pytest.raises(ArgumentError, match="labels must be one class number for each image"):
        audit(loaded(trained), pixels, labels[:5])
    with pytest.raises(ArgumentError, match="output must have the part 'logits'"):
        audit(loaded(trained), pixels, output="logits")


@pytest.fixture
def folder(tmp_path, images):
    for number, (image, label) in enumerate(zip(*images)):
        place = tmp_path / "data" / "abc"[int(label)]
        place.mkdir(parents=True, exist_ok=True)
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(place / f"{number:03}.png")
    return tmp_path / "data"


def brightest():
    """Right on images in [0, 1]."""
    return lambda images: images.mean((2, 3))


def test_the_command_ends_well_on_a_right_model(folder, capsys):
    assert main(["audit", "tests.measuring.test_audit:brightest", str(folder), "--train-size", "12"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("tests.measuring.test_audit:brightest on 120 images of data")
    assert "100.0% of 120 images are right" in shown
    assert "Nothing stands in the way" in shown


def test_the_command_tells_of_an_alarm_by_its_status(folder, capsys):
    command = ["audit", "tests.measuring.test_audit:Colours", str(folder), "--images", "60", "--json"]
    assert main(command) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["images"] == 60
    assert "alarm" in {finding["level"] for finding in content["findings"] if finding["check"] == "input"}
    assert main([*command, "--scale", "255"]) == 0


@pytest.mark.data
@pytest.mark.parametrize(
    ("options", "change", "match"),
    [
        ({"mean": MEAN, "std": STD}, None, ""),
        ({}, None, "--mean 0.485 0.456 0.406"),
        ({"scale": 255}, None, "--mean 0.485 0.456 0.406"),
        ({"mean": MEAN, "std": STD}, "255", "divide them by 255"),
        ({"mean": MEAN, "std": STD}, "bgr", "--channels bgr"),
    ],
    ids=["right", "no mean and std", "0..255 input", "0..255 images", "bgr"],
)
def test_a_trained_net_on_real_images(options, change, match, data_root):
    path = data_root / "nets" / "resnet20-12fca82f.th"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    from datamodules import ImageFolder

    # The order of the channels changes least, and takes most images to tell.
    count = 400 if change == "bgr" else 100
    kinds = {"labels": "classes", "normalisation": "none", "n_train": 10, "n_test": count}
    data = ImageFolder(folder="cifar10-jpeg", root=str(data_root), **kinds)
    data.setup()
    pixels = {"bgr": data.test_images.flip(1), "255": 255 * data.test_images}.get(change, data.test_images)
    model = load_model("diffstab.nets:ResNet", weights=path, preprocessing=options)
    report = audit(model, pixels, data.test_labels)
    found = [finding.text for finding in report.alarms if finding.check == "input"]
    assert bool(found) == bool(match)
    assert all(match in text for text in found)
    if not match:
        assert report.alarms == ()
