"""Rows of measured models: what stands in them, and that they are made again."""

import json

import pandas as pd
import pytest
import torch

from diffstab.cli import main
from diffstab.errors import ArgumentError, ResultsError
from diffstab.nets import CNN
from diffstab.nets.initial import initial_weights
from diffstab.zoo.replaying import replay
from diffstab.zoo.rows import add_rows, read_table, zoo_rows
from diffstab.zoo.tables import table_text, write_tables


def save_net(path, *, seed):
    with initial_weights(seed):
        torch.save(CNN(1, (4,), out_features=10).state_dict(), path)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A net with a file of weights, measured by the command, and the table with its row."""
    root = tmp_path_factory.mktemp("zoo")
    save_net(root / "net.pt", seed=0)
    config = {
        "models": {"net": {"model": "diffstab.nets:CNN", "weights": str(root / "net.pt"),
                           "init_args": {"in_channels": 1, "channels": [4], "out_features": 10}}},
        "data": "datamodules.Digits", "images": 40, "deltas": ["0.5px"], "cutoffs": [2], "batch_size": 20,
        "bootstrap": 100, "accelerator": "cpu",
    }  # fmt: skip
    (root / "measure.json").write_text(json.dumps(config))
    results = root / "results"
    assert main(["measure", "--config", str(root / "measure.json"), "--results", str(results)]) == 0
    add_rows(zoo_rows(results), root / "table.csv")
    return root


def row(zoo, **changes):
    return {**read_table(zoo / "table.csv").to_dict("records")[0], **changes}


def test_a_row_holds_the_numbers_of_the_output_and_no_folder(zoo):
    (one,) = read_table(zoo / "table.csv").to_dict("records")
    assert one["R"] == pytest.approx(one["D"] / one["G"])
    assert one["R_low"] < one["R"] < one["R_high"]
    assert (one["images"], one["dataset"], one["cutoff"]) == ("40", "digits", "2")
    assert str(zoo) not in (zoo / "table.csv").read_text()
    assert json.loads(one["config"])["model"]["weights"] == "file net.pt"


def test_a_row_is_made_again_to_the_bit(zoo):
    found = replay(row(zoo), weights=zoo)
    assert found.is_same_machine
    assert set(found.differences.values()) == {0.0}
    assert found.agrees


def test_another_number_is_seen(zoo, capsys):
    table = read_table(zoo / "table.csv").assign(R=lambda frame: frame["R"] * 1.001)
    table.to_csv(zoo / "changed.csv", index=False)
    assert main(["replay", str(zoo / "changed.csv"), "--weights", str(zoo)]) == 1
    assert "net: NOT the same to the bit; largest relative difference 1.0e-03 (R)" in capsys.readouterr().out


def test_other_versions_may_round_otherwise(zoo):
    before = row(zoo)
    near = replay({**before, "versions": "{}", "R": before["R"] * (1 + 1e-6)}, weights=zoo)
    far = replay({**before, "versions": "{}", "R": before["R"] * (1 + 1e-4)}, weights=zoo)
    assert (near.is_same_machine, near.agrees, far.agrees) == (False, True, False)


def test_other_weights_are_refused(zoo, tmp_path):
    save_net(tmp_path / "net.pt", seed=1)
    with pytest.raises(ArgumentError, match="weights must be those of the row"):
        replay(row(zoo), weights=tmp_path)
    with pytest.raises(ArgumentError, match=r"weights must name the folder of net\.pt"):
        replay(row(zoo))


def test_images_of_a_folder_are_asked_for(zoo):
    config = json.dumps({**json.loads(row(zoo)["config"]), "data": "folder photos"})
    with pytest.raises(ArgumentError, match="data must name the images of the row"):
        replay(row(zoo, config=config), weights=zoo)


def test_a_model_is_replaced_and_columns_of_others_stay(zoo, tmp_path):
    table = read_table(zoo / "table.csv").assign(published_error=0.07)
    other = table.assign(model="other", published_error=0.09)
    pd.concat([table.assign(R=9.0), other]).to_csv(tmp_path / "table.csv", index=False)
    rows = add_rows(zoo_rows(zoo / "results"), tmp_path / "table.csv").set_index("model")
    assert list(rows.index) == ["net", "other"]
    assert rows.loc["net", "R"] == row(zoo)["R"]
    assert rows["published_error"].to_dict() == {"net": 0.07, "other": 0.09}


def test_tables_stand_between_the_marks_of_a_document(zoo, tmp_path):
    document = tmp_path / "zoo.md"
    document.write_text("Before\n<!-- zoo table.csv -->\nold\n<!-- end -->\nafter\n")
    assert write_tables(document, zoo) == 1
    text = document.read_text()
    assert "old" not in text
    assert text.startswith("Before\n<!-- zoo table.csv -->\n| model |")
    assert text.endswith("<!-- end -->\nafter\n")
    assert f"{row(zoo)['R']:.3g} [" in text


def test_the_law_stands_beside_the_error(zoo):
    frame = read_table(zoo / "table.csv").assign(R=0.25, accuracy=0.9, published_error=0.083)
    assert "| 10.0 % [" in table_text(frame)
    assert "| 8.30 % | 10.0 % |" in table_text(frame)


def test_a_mark_chooses_rows_by_a_condition(zoo, tmp_path):
    table = read_table(zoo / "table.csv").assign(n_train=512)
    pd.concat([table, table.assign(model="large", n_train=8192)]).to_csv(tmp_path / "table.csv", index=False)
    document = tmp_path / "zoo.md"
    document.write_text("<!-- zoo table.csv where n_train == 8192 -->\n<!-- end -->\n")
    write_tables(document, tmp_path)
    assert [line.split(" | ")[0] for line in document.read_text().splitlines()[3:-1]] == ["| large"]
    for condition in ("n_train == 1", "no such column > 3"):
        document.write_text(f"<!-- zoo table.csv where {condition} -->\n<!-- end -->\n")
        with pytest.raises(ArgumentError, match="where must"):
            write_tables(document, tmp_path)


def test_fitted_laws_stand_in_a_document_too(tmp_path):
    laws = {"all": [0.2, 0.1, 0.3], "pair": [0.2, float("nan"), float("nan")]}
    rows = [
        {"against": "R", "models": name, "number": 8}
        | {f"{part}{end}": value for part in ("prefactor", "exponent", "correlation")
           for end, value in zip(("", "_low", "_high"), values)}
        for name, values in laws.items()
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "fits.csv", index=False)
    (tmp_path / "zoo.md").write_text("<!-- zoo fits.csv -->\n<!-- end -->\n")
    write_tables(tmp_path / "zoo.md", tmp_path)
    text = (tmp_path / "zoo.md").read_text()
    assert "| all | 8 | a R^b | 0.20 [0.10, 0.30] |" in text
    assert "| pair | 8 | a R^b | 0.200 | 0.200 | 0.200 |" in text


def test_columns_that_say_the_same_of_all_models_are_left_out(zoo):
    one = read_table(zoo / "table.csv")
    two = pd.concat([one, one.assign(model="other")])
    assert "40 of digits" in table_text(one)
    assert "40 of digits" not in table_text(two)
    assert "40 of digits" in table_text(two.assign(images=["40", "50"]))


def test_what_is_no_zoo_is_refused(tmp_path, zoo):
    with pytest.raises(ResultsError, match="has no mark"):
        write_tables(zoo / "measure.json", zoo)
    (tmp_path / "table.csv").write_text("model,R\na,1\n")
    with pytest.raises(ResultsError, match="has no column"):
        read_table(tmp_path / "table.csv")
    assert main(["zoo", str(zoo / "results")]) == 2
    assert main(["replay", str(zoo / "table.csv"), "--model", "unknown"]) == 2


def test_several_deformations_are_no_row(zoo, tmp_path):
    config = json.loads((zoo / "measure.json").read_text())
    (tmp_path / "two.json").write_text(json.dumps({**config, "deltas": ["0.5px", "1px"]}))
    folder = tmp_path / "results"
    assert main(["measure", "--config", str(tmp_path / "two.json"), "--results", str(folder)]) == 0
    with pytest.raises(ResultsError, match="several deformations"):
        zoo_rows(folder)
