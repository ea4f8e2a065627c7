import pandas as pd
import pytest
import yaml

from diffstab.report.page import write_report
from diffstab.report.runs import swept_options, told_apart

RUNS = pd.DataFrame(
    {
        "dataset": ["digits"] * 4,
        "method": ["feature", "feature", "lazy", "lazy"],
        "methods.feature.alpha": [1e-6, 1.0, 1e-6, 1.0],
        "net.hidden": ["[20]", "[20]", "[20]", "[50]"],
        "loss": ["hinge"] * 4,
    }
)


def written(folder, columns):
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"columns": columns}))
    return folder


def test_an_option_of_a_method_names_it_and_another_names_the_data(tmp_path):
    folder = written(tmp_path, ["methods.feature.alpha", "net.hidden", "loss"])
    assert swept_options(RUNS, folder) == ["methods.feature.alpha", "net.hidden"]
    frame = told_apart(RUNS, folder)
    assert frame["method"].tolist() == ["feature, alpha = 1e-06", "feature, alpha = 1", "lazy", "lazy"]
    assert frame["dataset"].tolist() == ["digits, hidden = [20]"] * 3 + ["digits, hidden = [50]"]
    assert RUNS["method"].tolist() == ["feature", "feature", "lazy", "lazy"]


def test_options_that_end_alike_are_named_in_full(tmp_path):
    runs = RUNS.assign(**{"methods.lazy.alpha": [1.0, 2.0, 1.0, 2.0]})
    frame = told_apart(runs, written(tmp_path, ["methods.feature.alpha", "methods.lazy.alpha"]))
    assert frame["method"][3] == "lazy, methods.lazy.alpha = 2"


def test_runs_of_no_sweep_stay_as_they_are(tmp_path):
    assert told_apart(RUNS, tmp_path) is RUNS


@pytest.fixture
def swept_folder(make_records, make_folder, tmp_path):
    parts = [make_records(sizes=(32,), seeds=(0, 1)).assign(loss_beta=value) for value in (5.0, 20.0)]
    return written(make_folder(tmp_path / "swept", pd.concat(parts, ignore_index=True)), ["loss_beta"])


def test_the_page_of_a_sweep_tells_its_runs_apart(swept_folder):
    html = write_report(swept_folder).read_text()
    assert "loss_beta = 5" in html
    assert "loss_beta = 20" in html
    assert "run again" not in html
