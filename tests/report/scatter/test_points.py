"""Models as points: from files and folders, chosen by a condition, and the files that the command writes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from diffstab.errors import ArgumentError, ResultsError
from diffstab.report.scatter import Fits, averaged, draw_scatter, fitted, read_points
from diffstab.report.scatter.command import main
from diffstab.report.scatter.points import Points


@pytest.fixture
def table(tmp_path):
    """Eight nets on the law error = 0.2 R^0.5, in percent of accuracy, and one without an error."""
    R = np.geomspace(0.01, 1, 8)
    frame = pd.DataFrame({"architecture": ["a", "b"] * 4, "dataset": "c", "n_train": [64, 512] * 4, "R": R})
    frame["test_accuracy_percent"] = 100 * (1 - 0.2 * R**0.5)
    perfect = pd.DataFrame(
        [{"architecture": "a", "n_train": 512, "R": 0.001, "test_accuracy_percent": 100.0}]
    )
    pd.concat([frame, perfect]).to_csv(tmp_path / "nets.csv", index=False)
    return tmp_path / "nets.csv"


def test_accuracies_become_errors_and_perfect_nets_are_counted(table):
    points = read_points([table])
    assert points.left_out == 1
    assert points.frame["error"].to_numpy() == pytest.approx(0.2 * np.geomspace(0.01, 1, 8) ** 0.5)
    assert set(points.frame["data"]) == {"c"}


def test_a_condition_chooses_rows(table):
    assert set(
        read_points([table], where="n_train >= 512 and architecture == 'b'").frame["architecture"]
    ) == {"b"}


def test_records_of_a_folder_are_points(make_folder, make_records, tmp_path):
    frame = read_points([make_folder(tmp_path / "results", make_records())]).frame
    assert {"feature", "lazy_exact"} <= set(frame["architecture"])
    assert (frame["error"] == frame["test_error"]).all()


def test_layers_other_than_the_output_are_no_models(tmp_path):
    frame = pd.DataFrame(
        {"model": "m", "layer": ["output", "conv1"], "R": [0.2, 0.9], "accuracy": [0.9, 0.9]}
    )
    frame.to_csv(tmp_path / "layers.csv", index=False)
    assert list(read_points([tmp_path / "layers.csv"]).frame["R"]) == [0.2]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("R,x\n1,2\n", {}, "no column of a test error"),
        ("error,x\n1,2\n", {}, "no column of R"),
        ("R,error\n0,0.1\n", {}, "No row"),
        ("R,error\n1,0.1\n", {"where": "size > 3"}, "where must be a condition on the columns R, error"),
        ("R,error\n1,0.1\n", {"against": "S"}, "against must be one of R, D, G"),
    ],
)
def test_what_is_no_table_of_models_is_refused(tmp_path, content, options, message):
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises((ArgumentError, ResultsError), match=message):
        read_points([tmp_path / "table.csv"], **options)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ResultsError, match=r"nothing\.csv cannot be read"):
        read_points([tmp_path / "nothing.csv"])


def test_the_command_prints_the_law_and_writes_its_files(table, tmp_path, capsys):
    assert main([str(table), "--fit-by", "architecture", "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "1 rows without a positive test error and R are left out." in shown
    fits = pd.read_csv(tmp_path / "out" / "scatter-fits.csv").set_index("models")
    assert set(fits.index) == {"all models", "architecture a", "architecture b"}
    assert fits["exponent"].to_numpy() == pytest.approx(0.5)
    assert fits["prefactor"].to_numpy() == pytest.approx(0.2)
    assert len(pd.read_csv(tmp_path / "out" / "scatter-points.csv")) == 8
    assert (tmp_path / "out" / "scatter.png").read_bytes().startswith(b"\x89PNG")


def test_two_models_are_drawn_without_a_fit(tmp_path, capsys):
    (tmp_path / "two.csv").write_text("model,R,error\na,0.2,0.1\nb,0.3,0.2\n")
    assert main([str(tmp_path / "two.csv"), "--output", str(tmp_path)]) == 0
    assert "No fit" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--colour", "--marker", "--join", "--fit-by", "--fit-within", "--means"])
def test_a_column_that_is_not_there_is_refused(table, tmp_path, option):
    with pytest.raises(ArgumentError, match="must be among the columns"):
        main([str(table), option, "depth", "--output", str(tmp_path)])


def test_means_over_models_are_geometric(tmp_path):
    rows = "net,seed,R,R_low,error,data\na,0,0.1,0.05,0.02,c\na,1,0.4,0.3,0.08,c\nb,0,0.3,0.2,0.1,c\n"
    (tmp_path / "nets.csv").write_text(rows)
    frame = averaged(read_points([tmp_path / "nets.csv"]), ["net"]).frame.set_index("net")
    assert frame.loc["a", ["R", "error"]].tolist() == pytest.approx([0.2, 0.04])
    assert frame["models"].to_dict() == {"a": 2, "b": 1}
    assert (frame["data"] == "c").all()
    assert not {"seed", "R_low"} & set(frame)


def test_groups_of_one_model_are_left_out_of_the_law_within_them(tmp_path):
    """Two sizes with the law error = a_n R^-1 in each, and a third with one net far away."""
    frame = pd.DataFrame({"n": [8] * 3 + [9] * 3 + [10], "R": [1, 2, 4, 10, 20, 40, 500.0]})
    frame["error"] = [0.1, 0.05, 0.025, 0.4, 0.2, 0.1, 0.9]
    frame.to_csv(tmp_path / "nets.csv", index=False)
    laws = fitted(read_points([tmp_path / "nets.csv"]), against="R", fits=Fits(("n",), ("n",)))
    assert set(laws) == {"all models", "n 8", "n 9", "within n"}
    assert laws["within n"].exponent.mean == pytest.approx(-1)
    assert laws["within n"].exponent.draws == 6


def test_a_figure_of_several_quantities_has_a_panel_and_fits_for_each(tmp_path, capsys):
    R, net = np.geomspace(0.01, 1, 8), ["a", "b", "c", "d"] * 2
    frame = pd.DataFrame(
        {"net": net, "n_train": [64] * 4 + [512] * 4, "R": R, "D": R**2, "error": 0.2 * R**0.5}
    )
    frame.to_csv(tmp_path / "nets.csv", index=False)
    options = ["--against", "R", "D", "--colour", "net", "--marker", "n_train", "--join", "net"]
    options += ["--fit-within", "n_train", "--clusters", "net", "--output", str(tmp_path / "out")]
    assert main([str(tmp_path / "nets.csv"), *options]) == 0
    assert "test error = a D^b" in capsys.readouterr().out
    fits = pd.read_csv(tmp_path / "out" / "scatter-fits.csv").set_index(["against", "models"])
    assert fits["exponent"].to_dict() == {
        ("R", "all models"): pytest.approx(0.5),
        ("R", "within n_train"): pytest.approx(0.5),
        ("D", "all models"): pytest.approx(0.25),
        ("D", "within n_train"): pytest.approx(0.25),
    }


def test_an_architecture_has_its_colour_in_every_panel():
    """Also where another one is missing from a panel: of it, G was not measured, say."""
    figure, (left, right) = plt.subplots(1, 2)
    whole = pd.DataFrame({"architecture": ["a", "b"], "R": [0.1, 1.0], "error": [0.1, 0.2]})
    part = whole[whole["architecture"] == "b"]
    for ax, frame in ((left, whole), (right, part)):
        draw_scatter(ax, Points(frame, 0), None, beside=whole)
    colours = [ax.containers[-1].lines[0].get_color() for ax in (left, right)]
    assert colours[0] == colours[1]
    assert left.containers[0].lines[0].get_color() != colours[0]
    plt.close(figure)
