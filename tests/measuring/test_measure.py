"""One call measures a model as the formulas say, whatever the batches, processes, interruptions."""

import logging
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from torch import nn
from torch.utils.data import TensorDataset

from diffstab.errors import ArgumentError
from diffstab.measuring import DeviceSettings, PassSettings, compare_models, measure, open_data
from diffstab.measuring.comparison import ranking
from diffstab.measuring.forecast import fitting_batch
from diffstab.measuring.measurement import cautions
from diffstab.measuring.one_call import finish, forecast, loaded_model, prepare, state_path
from diffstab.measuring.settings import protocol, under_protocol
from diffstab.nets import LoadedModel
from diffstab.stability import change_norms, diffeomorphism, stability
from diffstab.stability.draws import NumberedDraws

from .conftest import small_net, smooth_images

CPU = DeviceSettings(accelerator="cpu", batch_size=16)
NUMBERS = [
    "D",
    "D_low",
    "D_high",
    "G",
    "G_low",
    "G_high",
    "R",
    "R_low",
    "R_high",
    "floor",
    "denominator",
    "accuracy",
]


@pytest.fixture(autouse=True)
def _quiet(capsys):
    yield
    capsys.readouterr()


def one_px(**options):
    return PassSettings(**{"deltas": ("0.4px",), "layers": ("first", "second"), **options})


def test_numbers_are_those_of_the_formula_on_the_same_draws(net, labelled):
    found = measure(net, labelled, settings=one_px(), devices=CPU)
    images, labels = labelled.tensors
    draws = NumberedDraws([diffeomorphism(0.4, 3)], seed=0)
    clean, deformed, noisy = draws.draw(images, torch.arange(70)).stack
    cut = {"first": net.first, "second": nn.Sequential(net.first, net.second), "output": net}
    for layer, part in cut.items():
        with torch.no_grad():
            expected = stability(part(clean), part(deformed), part(noisy))
        row = found.frame.set_index("layer").loc[layer]
        for name, value in (("D", expected.deformation), ("G", expected.noise), ("R", expected.relative)):
            assert row[name] == pytest.approx(float(value), rel=1e-5)
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    with torch.no_grad():
        right = (net(images).argmax(1) == labels).double().mean()
    assert found.frame["accuracy"].unique().tolist() == pytest.approx([float(right)])


def test_a_row_of_an_image_adds_up_to_the_numbers_of_the_output(net, labelled):
    found = measure(net, labelled, settings=one_px(deltas=("0.4px", "2%")), devices=CPU)
    outputs = found.frame[found.frame["layer"] == "output"].set_index("deformation")
    for deformation, part in found.images.groupby("deformation"):
        assert part["D_i"].mean() == pytest.approx(outputs.loc[deformation, "D"], rel=1e-9)
        assert part["G_i"].mean() == pytest.approx(outputs.loc[deformation, "G"], rel=1e-9)
        assert part["label"].tolist() == labelled.tensors[1].tolist()
    assert outputs.loc["2%", "delta_px"] == pytest.approx(0.16)


@pytest.mark.parametrize(
    "devices",
    [
        DeviceSettings(accelerator="cpu", batch_size=1),
        DeviceSettings(accelerator="cpu", batch_size=7),
        DeviceSettings(accelerator="cpu"),
        pytest.param(DeviceSettings(accelerator="cpu", batch_size=16, workers=2), marks=pytest.mark.contract),
        pytest.param(DeviceSettings("cpu", 2, "ddp", batch_size=8), marks=pytest.mark.contract),
    ],
    ids=["batches of 1", "batches of 7", "batches by memory", "two workers", "two processes"],
)
def test_batches_workers_and_processes_change_no_number(net, labelled, devices):
    expected = measure(net, labelled, settings=one_px(), devices=CPU)
    found = measure(net, labelled, settings=one_px(), devices=devices)
    tolerance = {"rtol": 1e-5, "check_exact": False}
    pd.testing.assert_frame_equal(found.frame[NUMBERS], expected.frame[NUMBERS], **tolerance)
    pd.testing.assert_frame_equal(found.images, expected.images, **tolerance)


class _Breaks(nn.Module):
    """Breaks off after a number of images."""

    def __init__(self, net, after):
        super().__init__()
        self.net, self.left = net, after

    def forward(self, x):
        self.left -= len(x)
        if self.left < 0:
            raise KeyboardInterrupt
        return self.net(x)


def test_a_measurement_that_was_stopped_goes_on(tmp_path):
    net, images = small_net(), open_data(smooth_images(300))
    settings = PassSettings(deltas=("0.4px",), layers=("output",))
    whole = finish(prepare(net, images, settings=settings), devices=CPU, path=tmp_path / "whole.pt")
    ready = prepare(_Breaks(net, 4 * 200), images, settings=settings)
    path = state_path(tmp_path, ready)
    with pytest.raises(KeyboardInterrupt):
        finish(ready, devices=CPU, path=path)
    assert path.exists()
    net.seen = 0
    rest = finish(prepare(net, images, settings=settings), devices=CPU, path=path)
    assert net.seen < 4 * 250  # 128 images were kept; a few are run again to look at the layers
    assert not path.exists()
    pd.testing.assert_frame_equal(rest.frame[NUMBERS], whole.frame[NUMBERS], rtol=1e-5, check_exact=False)


def test_until_stops_at_the_width_and_takes_fields_when_images_are_out():
    net = small_net()
    wide = measure(net, smooth_images(600), settings=one_px(layers=("output",), until=0.3), devices=CPU).frame
    assert int(wide["images"].iloc[0]) == 128
    assert _half_width(wide) <= 0.3
    more = measure(
        net, smooth_images(130), settings=one_px(layers=("output",), until=0.001), devices=CPU
    ).frame
    once = measure(net, smooth_images(130), settings=one_px(layers=("output",)), devices=CPU).frame
    assert more["fields_per_image"].tolist() == [16]
    assert once["fields_per_image"].tolist() == [1]
    assert _half_width(more) < _half_width(once)
    assert more["R"].iloc[0] == pytest.approx(once["R"].iloc[0], rel=0.3)


def _half_width(frame):
    return float(((frame["R_high"] - frame["R_low"]) / (2 * frame["R"])).iloc[0])


def test_images_are_chosen_evenly_and_known_by_their_number(net, labelled):
    every = measure(net, labelled, settings=one_px(layers=("output",)), devices=CPU).images.set_index(
        "number"
    )
    some = measure(net, labelled, settings=one_px(layers=("output",), images=30), devices=CPU).images
    assert len(some) == 30
    for name in ("deformation_square", "noise_square", "label", "prediction"):
        np.testing.assert_allclose(some[name], every.loc[some["number"], name], rtol=1e-5)


def test_medians_are_compared_as_medians(labelled):
    found = {
        label: measure(small_net(seed), labelled, devices=CPU, protocol_name="2021")
        for label, seed in (("a", 0), ("b", 1))
    }
    (row,) = compare_models(found).pairs.to_dict("records")
    outputs = [one.frame.set_index("layer").loc["output"] for one in found.values()]
    for name in "DGR":
        assert outputs[0][name] == outputs[0][f"{name}_median"]
        assert row[f"{name}_difference"] == pytest.approx(outputs[0][name] - outputs[1][name])
        assert row[f"{name}_difference_low"] <= row[f"{name}_difference"] <= row[f"{name}_difference_high"]
    with pytest.raises(ArgumentError, match="measurements must be of one protocol"):
        compare_models({"a": found["a"], "mean": measure(small_net(1), labelled, devices=CPU)})


def test_models_are_compared_on_the_same_images(labelled):
    nets = {"a": small_net(0), "b": small_net(1), "same": small_net(0)}
    found = {label: measure(net, labelled, settings=one_px(), devices=CPU) for label, net in nets.items()}
    result = compare_models(found)
    pairs = result.pairs.set_index(["model_a", "model_b"])
    outputs = {label: one.frame.set_index("layer").loc["output"] for label, one in found.items()}
    for name in "DGR":
        row = pairs.loc["a", "b"]
        assert row[f"{name}_difference"] == pytest.approx(outputs["a"][name] - outputs["b"][name])
        assert row[f"{name}_ratio"] == pytest.approx(outputs["a"][name] / outputs["b"][name])
        assert row[f"{name}_difference_low"] <= row[f"{name}_difference"] <= row[f"{name}_difference_high"]
        assert pairs.loc[("a", "same"), f"{name}_difference"] == 0
    ranks = result.ranking.set_index("model")["rank"]
    assert ranks["a"] == ranks["same"]
    clearly = pd.DataFrame({"deformation": "1px", "cutoff": 3, "model": [*"xyz"], "R": [3.0, 1.0, 2.0]})
    clearly = clearly.assign(R_low=clearly["R"], R_high=clearly["R"], accuracy=0.5)
    # x is above y for sure; z is told apart from none.
    ends = {("x", "y"): (1.0, 3.0), ("x", "z"): (-1.0, 3.0), ("y", "z"): (-2.0, 0.5)}
    told = [
        {"model_a": a, "model_b": b, "R_difference_low": low, "R_difference_high": high}
        for (a, b), (low, high) in ends.items()
    ]
    order = ranking(clearly, pd.DataFrame(told).assign(deformation="1px", cutoff=3))
    assert list(zip(order["model"], order["rank"])) == [("y", 1), ("z", 1), ("x", 2)]
    assert "a against b" in str(result)
    with pytest.raises(ArgumentError, match="models must be measured on the same images"):
        compare_models(
            {"a": found["a"], "few": measure(nets["b"], labelled, settings=one_px(images=20), devices=CPU)}
        )


def test_preprocessing_comes_after_the_deformation_and_a_part_of_the_output_is_measured(labelled):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small_net()

        def forward(self, x):
            return {"logits": self.net(x), "other": x}

    doubled = LoadedModel(Named(), "named", "here", preprocessing=lambda x: 2 * x)
    settings = PassSettings(deltas=("0.4px",), layers=("output",))
    found = measure(doubled, labelled, settings=settings, devices=CPU, output="logits").frame
    plain = measure(lambda x: small_net()(2 * x), labelled, settings=settings, devices=CPU).frame
    assert found["R"].iloc[0] == pytest.approx(plain["R"].iloc[0], rel=1e-5)
    with pytest.raises(ArgumentError, match="output"):
        measure(doubled, labelled, settings=settings, devices=CPU)


def test_mixed_precision_changes_little_and_leaves_the_model(net, labelled):
    single = measure(net, labelled, settings=one_px(), devices=CPU).frame
    devices = DeviceSettings("cpu", precision="bf16-mixed", batch_size=16)
    mixed = measure(net, labelled, settings=one_px(), devices=devices).frame
    np.testing.assert_allclose(mixed["D"], single["D"], rtol=0.1)
    assert not np.array_equal(mixed["D"], single["D"])
    assert next(net.parameters()).dtype == torch.float32


def test_double_precision_agrees_to_rounding_whatever_the_batches(labelled):
    net = small_net().double()
    first = measure(net, labelled, settings=one_px(), devices=CPU).frame
    again = measure(net, labelled, settings=one_px(), devices=DeviceSettings("cpu", batch_size=9)).frame
    np.testing.assert_allclose(first[list("DGR")], again[list("DGR")], rtol=1e-10)


def test_a_model_comes_back_as_it_was(net, labelled):
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    measure(net, labelled, settings=one_px(), devices=CPU)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_labels_beyond_the_outputs_give_no_accuracy(net):
    data = TensorDataset(smooth_images(20), torch.full((20,), 7))
    found = measure(net, data, settings=one_px(layers=("output",)), devices=CPU).frame
    assert math.isnan(found["accuracy"].iloc[0])


def test_data_with_other_classes_than_the_model_give_no_accuracy_but_a_word(net):
    images = open_data(TensorDataset(smooth_images(20), torch.zeros(20, dtype=torch.int64)))
    named = replace(images, class_names=("cat", "dog"))
    found = measure(net, named, settings=one_px(layers=("output",)), devices=CPU)
    assert math.isnan(found.frame["accuracy"].iloc[0])
    assert "The data have 2 classes and the model 3 outputs" in str(found)
    known = measure(net, replace(images, class_names=("cat", "dog", "eel")), settings=one_px(), devices=CPU)
    assert 0 <= known.frame["accuracy"].iloc[0] <= 1


def test_a_protocol_fixes_what_it_names_and_stands_beside_the_numbers(net, labelled):
    found = measure(net, labelled, settings=one_px(seed=5), devices=CPU, protocol_name="2021")
    assert set(found.frame["protocol"]) == {"2021"}
    assert set(found.frame["deformation"]) == {"1px"}
    assert set(found.frame["cutoff"]) == {3}  # grey images
    assert found.frame["D"].tolist() == found.frame["D_median"].tolist()
    draws = NumberedDraws([diffeomorphism(1.0, 3)], seed=0)
    images = labelled.tensors[0]
    clean, deformed, _ = draws.draw(images, torch.arange(70)).stack
    mean = float(change_norms(clean, deformed[None]).mean())
    assert found.frame["noise_norm"].tolist() == pytest.approx([mean] * 3, rel=1e-5)
    assert "protocol 2021" in str(found)
    colour = protocol(2021, channels=3)
    assert under_protocol(one_px(), colour, available=10_000).amounts[0].cutoff == 5
    assert under_protocol(one_px(), protocol("1"), available=10_000).images == 500
    with pytest.raises(ArgumentError, match="protocol must be 1 or 2021"):
        protocol("3")


def test_plots_take_and_return_axes(net, labelled, axes):
    found = measure(net, labelled, settings=one_px(deltas=("0.2px", "0.4px"), cutoffs=(2, 3)), devices=CPU)
    ax = axes()
    assert found.plot_depth(ax, deformation="0.4px", cutoff=2) is ax
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    chosen = found.frame[(found.frame["deformation"] == "0.4px") & (found.frame["cutoff"] == 2)]
    np.testing.assert_allclose(lines["R"], chosen["R"])
    assert isinstance(found.plot_plane(axes()), Axes)
    with pytest.raises(ArgumentError, match="deformation must be one of"):
        found.plot_depth(axes(), deformation="3px")
    text = str(found)
    assert "δ = 0.2 px, c = 2" in text
    assert text.count("output") == 4


def test_a_logger_of_lightning_gets_the_numbers(net, labelled, tmp_path):
    from pytorch_lightning.loggers import CSVLogger

    logger = CSVLogger(tmp_path, name="", version="run")
    found = measure(net, labelled, settings=one_px(layers=("output",)), devices=CPU, logger=logger)
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert table["R"].iloc[0] == pytest.approx(found.frame["R"].iloc[0])


def test_a_forecast_takes_nothing_away(net, labelled):
    ready = prepare(net, open_data(labelled), settings=one_px(deltas=("0.2px", "0.4px")))
    told = forecast(ready, CPU)
    assert (told.images, told.forwards, told.batch_size) == (70, 7, 16)
    assert 0 < told.seconds < 60
    assert "70 images, 7 passes of each" in str(told)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_batch_fills_a_quarter_of_the_free_memory():
    assert fitting_batch(1e6, 4e9, images=10**6) == 256
    assert fitting_batch(1e7, 4e9, images=10**6) == 64
    assert fitting_batch(1e7, 4e9, images=10**6, processes=2) == 32
    assert fitting_batch(1e12, 4e9, images=10**6) == 1
    assert fitting_batch(1.0, 4e9, images=5) == 4


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"deltas": ()}, "deltas must hold a deformation"),
        ({"deltas": ("1mm",)}, r"deltas must be a number above 0 with px or %, got '1mm'"),
        ({"deltas": ("-1px",)}, "deltas must be a number above 0"),
        ({"deltas": ("1px", "1px")}, "deltas must hold each deformation once"),
        ({"rotations": ("3px",)}, "rotations must be a number above 0 with deg"),
        ({"until": 5}, "until must be a share"),
        ({"bootstrap": 1}, "bootstrap must be at least 100"),
        ({"layers": ()}, "layers must hold a pattern"),
    ],
)
def test_bad_settings_are_refused_at_once(options, match):
    with pytest.raises(ArgumentError, match=match):
        PassSettings(**options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"layers": ("nothing*",)}, "nothing"),
        ({"images": 71}, "images must lie between 2 and 70, got 71"),
        ({"noise": "batch", "deltas": ("1px", "2px")}, "noise must be"),
    ],
)
def test_what_does_not_fit_model_or_data_is_refused_before_it_runs(net, labelled, options, match):
    with pytest.raises(ArgumentError, match=match):
        measure(net, labelled, settings=one_px(**options), devices=CPU)
    assert net.seen < 10


def test_only_modules_have_layers(labelled):
    with pytest.raises(ArgumentError, match="layers must be left out for an object"):
        measure(lambda x: x.flatten(1), labelled, settings=one_px(), devices=CPU)
    with pytest.raises(ArgumentError, match="model must be a module"):
        loaded_model(3)


def test_devices_that_are_not_there_are_refused(net, labelled):
    with pytest.raises(ArgumentError, match="strategy must be one of auto, ddp"):
        DeviceSettings(strategy="fsdp")
    if not torch.cuda.is_available():
        with pytest.raises(ArgumentError, match="trainer must fit this machine"):
            measure(net, labelled, settings=one_px(), devices=DeviceSettings("gpu"))


def test_a_constant_layer_is_named_and_the_others_go_on(labelled):
    net = small_net()
    nn.init.zeros_(net.head.weight)
    found = measure(net, labelled, settings=one_px(), devices=CPU)
    rows = found.frame.set_index("layer")
    assert math.isnan(rows.loc["output", "R"])
    assert rows.loc["second", "R"] > 0
    assert any("Constant on these images" in note for note in cautions(found.frame))


def test_nothing_is_logged_but_warnings(net, labelled, caplog):
    with caplog.at_level(logging.INFO):
        measure(net, labelled, settings=one_px(), devices=CPU)
    assert not [
        record for record in caplog.records if record.levelno < logging.WARNING and "GPU" in record.message
    ]
