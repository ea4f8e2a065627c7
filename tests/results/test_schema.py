"""What columns and their values are called."""

import pytest

from diffstab.results.schema import describe, is_axis, is_measurement, ordered_values, value_name


def test_a_column_that_is_not_listed_shows_under_its_own_name_as_a_number():
    assert describe("mystery")[:4] == ("mystery", "mystery", "mystery", 1.0)
    assert not is_measurement("mystery")


@pytest.mark.parametrize(
    ("name", "label"), [("R", "Relative stability, R"), ("n_train", "Training points n")]
)
def test_listed_columns_have_a_label(name, label):
    assert describe(name).label == label


def test_a_measurement_before_training_keeps_its_unit():
    before, after = describe("init_test_error"), describe("test_error")
    assert before.label == "Test error, before training"
    assert before[3:] == after[3:]
    assert is_measurement("init_test_error")


@pytest.mark.parametrize("name", ["test_error_low", "test_error_high"])
def test_ends_of_an_interval_are_in_the_unit_of_their_middle(name):
    assert describe(name).factor == 100


def test_a_number_behind_a_listed_measurement_is_that_of_a_layer():
    assert describe("dead_share_2").label == "Dead neurons, layer 2"
    assert describe("mystery_2").label == "mystery_2"


def test_axes_name_the_run_and_measurements_do_not():
    assert is_axis("n_train")
    assert is_axis("method")
    assert not is_axis("D")
    assert not is_axis("started_at")


def test_values_are_called_by_one_name_each_and_others_as_they_are():
    assert value_name("dataset", "cifar10") == "CIFAR-10"
    assert value_name("method", "mystery") == "mystery"
    assert value_name("mystery", 3) == "3"


@pytest.mark.parametrize("column", ["dataset", "method"])
def test_names_of_values_are_distinct(column):
    names = [value_name(column, value) for value in ordered_values(column)]
    assert len(set(names)) == len(names) > 3
