import csv

from diffstab.reporting.sphere.papers import write_exponents, write_learning_curves, write_predictors


def test_learning_curves_of_every_target(sphere_records, make_folder, tmp_path):
    folder = make_folder(tmp_path / "run", sphere_records(sizes=(8, 32)))
    paths = write_learning_curves(folder)
    assert [path.name for path in paths] == ["constant-learning-curves.png", "constant-learning-curves.pdf"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[1].read_bytes().startswith(b"%PDF")


def test_exponents_as_comma_separated_values(sphere_records, make_folder, tmp_path):
    path = write_exponents(make_folder(tmp_path / "run", sphere_records()))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["Method"]: row["Predicted β"] for row in rows} == {
        "feature (exact)": "2.50",
        "lazy (NTK)": "3.00",
    }
    assert all(row["Measured β"].endswith("]") for row in rows)


def test_without_recorded_predictors_there_is_nothing_to_draw(sphere_records, make_folder, tmp_path):
    assert write_predictors(make_folder(tmp_path / "run", sphere_records(sizes=(8, 32)))) == []
