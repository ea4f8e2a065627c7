"""Files that do not fit an experiment are refused in one clear error."""

import pytest

from diffstab.errors import ArgumentError
from diffstab.experiments import experiment_class
from diffstab.grid.options import parse


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("plateau", "width: [8]", "width"),
        ("plateau", "widths: [many]", "widths"),
        ("plateau", "descent: {finish: newton}", "finish must be lbfgs or gd"),
        ("plateau", "data: {class_path: datamodules.OneHotClasses, init_args: {vertices: 1}}", "vertices"),
        ("plateau", "depth: 1", "depth must be at least 2"),
        ("sphere curve", "n_trai: [8]", "n_trai"),
        ("sphere curve", "n_train: [many]", "n_train"),
        ("sphere curve", "methods: {a: {predictor: ntk, rigde: 1.0}}", "rigde"),
        ("sphere curve", "targets: [{class_path: diffstab.sphere.GaussianFieldTarget}]", "smoothness"),
        (
            "sphere curve",
            "targets: [{class_path: diffstab.sphere.ConstantTarget, init_args: {size: 1}}]",
            "size",
        ),
        ("sphere curve", "dimensions: [1]", "dimensions must hold different numbers of at least 2"),
    ],
)
def test_a_wrong_file_is_one_clear_error(name, text, message, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        parse(experiment_class(name), ["--config", str(path)])
