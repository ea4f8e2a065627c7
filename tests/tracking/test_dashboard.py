"""The dashboard: a valid specification without a network, on quantities that runs log."""

import json
import sys

import pytest

from diffstab.cli import main
from diffstab.errors import ArgumentError, ResultsError
from diffstab.experiments import experiment_class, listed
from diffstab.tracking import content, dashboard

# Of wandb-workspaces' own use of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")


@pytest.fixture(autouse=True)
def _no_settings(quiet_place):
    return quiet_place


def panels_in(node):
    """All panels of a specification, wherever they lie."""
    if isinstance(node, dict):
        found = [node] if "viewType" in node else []
        return found + [panel for value in node.values() for panel in panels_in(value)]
    return [panel for value in node for panel in panels_in(value)] if isinstance(node, list) else []


def test_a_dry_run_writes_workspace_and_report(quiet_place, capsys):
    assert main(["dashboard", "--dry-run", "--output", "out/dashboard.json"]) == 0
    assert capsys.readouterr().out == "out/dashboard.json\n"
    found = json.loads((quiet_place / "out" / "dashboard.json").read_text())
    assert found.keys() == {"workspace", "report"}
    names = [
        section["name"] for section in found["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    ]
    assert names[-2:] == ["Training", "Pictures"]
    kinds = {"Images", "Measure", "Sphere", "Plateau", "Forces", "Lazy", "Hierarchy", "Bottleneck", "Leaky"}
    assert {"Fit", "Sphere fit"} | kinds == set(names[:-2])
    for part in found.values():
        titles = [panel["config"].get("chartTitle", "") for panel in panels_in(part)]
        for title in ("Test error against number of training points, by regime", "Test error against R"):
            assert title in titles
    shown = [panel["config"] for panel in panels_in(found["workspace"])]
    (sphere,) = [config for config in shown if config.get("metrics") == ["sphere/D_rotation"]]
    assert sphere["chartTitle"] == "Sensitivity to rotations, D against number of training points"
    assert (sphere["xLogScale"], sphere["yLogScale"], sphere["groupBy"]) == (True, True, "line.value")
    (least,) = [config for config in shown if config.get("chartTitle") == "Least loss against width"]
    assert least["xAxis"] == "plateau_best/width"


def test_panels_of_a_report_do_not_overlap():
    found = json.loads(dashboard.as_json(dashboard.make_dashboard()))["report"]
    for block in found["spec"]["blocks"]:
        places = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in panels_in(block)]
        assert len(places) == len(set(places))


def test_panels_show_what_runs_log():
    curves = [content.curves_of(experiment_class(name)) for name in listed()]
    known = {
        prefix + name
        for one in curves
        for prefix in (one.prefix, one.best, "")
        for name in (one.axis, *one.measures)
    }
    drawn = [
        panel["config"] for panel in panels_in(json.loads(dashboard.as_json(dashboard.make_dashboard())))
    ]
    lines = [config for config in drawn if "metrics" in config]
    assert len(lines) > 30
    for config in lines:
        for name in (config["xAxis"], *config["metrics"]):
            assert name in known or name.startswith((content.TRAINING, "trainer/global_step")), name


def test_every_picture_of_a_page_has_a_panel():
    drawn = [
        panel["config"] for panel in panels_in(json.loads(dashboard.as_json(dashboard.make_dashboard())))
    ]
    keys = {key for config in drawn for key in config.get("mediaKeys", [])}
    assert {"pictures/neurons", "pictures/deformations", "pictures/layers_2", "pictures/circle"} <= keys


def test_pushing_takes_a_key_and_an_entity(capsys):
    assert main(["dashboard", "--push", "--entity", "me"]) == 2
    assert "WANDB_API_KEY must be set to push a dashboard, got no key." in capsys.readouterr().err
    assert main(["dashboard", "--push"]) == 2
    assert "entity must be given to push" in capsys.readouterr().err


def test_a_refusal_of_the_server_is_told(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

    class Refused:
        def save(self):
            raise OSError("no network")

    made = dashboard.Dashboard(Refused(), Refused())
    monkeypatch.setattr(dashboard, "make_dashboard", lambda project, *, entity: made)
    with pytest.raises(ResultsError, match=r"did not take the dashboard of me/p \(OSError: no network\)"):
        dashboard.push("p", entity="me")


def test_what_is_pushed_is_what_was_made(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

    class Saved:
        def __init__(self, name):
            self.url = f"https://example.org/{name}"

        def save(self):
            return self

    made = dashboard.Dashboard(Saved("workspace"), Saved("report"))
    monkeypatch.setattr(dashboard, "make_dashboard", lambda project, *, entity: made)
    assert dashboard.push("p", entity="me") == ["https://example.org/workspace", "https://example.org/report"]


def test_without_the_package_the_way_out_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ArgumentError, match=r"pip install 'diffstab\[dashboards\]'"):
        dashboard.make_dashboard()


def test_a_bad_project_is_refused(capsys):
    assert main(["dashboard", "--dry-run", "--project", "<b>/../y"]) == 2
    assert "wandb must have 1 to 128 characters" in capsys.readouterr().err
