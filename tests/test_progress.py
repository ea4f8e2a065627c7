"""What a long piece of work shows: at 80 columns on a terminal, and in a log file."""

import io
import threading

import pytest
from rich.console import Console

from diffstab import progress as module
from diffstab.progress import Tally, number_text, numbers_text, progress


class Log(io.StringIO):
    """A file that says when something was written to it."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def write(self, text):
        count = super().write(text)
        self.written.set()
        return count


def rendered(shown, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(shown)
    return console.file.getvalue().splitlines()


def test_time_left_is_shared_by_the_workers():
    tally = Tally(10, workers=2)
    assert tally.remaining(6.0) is None
    tally.done = 3
    assert tally.remaining(6.0) == 14.0  # at the pace so far
    tally.left_seconds = 24.0
    assert tally.remaining(6.0) == 12.0
    tally.failed = 6
    assert tally.remaining(6.0) == 24.0  # one batch keeps one worker busy
    tally.done = 4
    assert tally.remaining(6.0) is None


def test_the_status_names_what_fails_runs_and_waits():
    assert Tally(3).status() == ""
    assert Tally(9, failed=1, running=2, waiting=3).status() == "1 failed, 2 running, 3 in another sweep"
    assert Tally(3, workers=0).status() == "waiting for workers"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_bar_count_and_time_left_stay_visible_however_long_the_description(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    tally = Tally(1000, done=120, failed=1, left_seconds=4321.0)
    with progress(console, tally) as shown:
        shown.describe("feature, n_train=1024, " * 20)
        first, second = rendered(shown, width)
    assert len(first) == width
    assert (first[:23], first[-1]) == ("feature, n_train=1024, ", "…")
    assert all(part in second for part in ("━", "121/1000", "about 1:12:01 left"))
    if width >= 80:
        assert "1 failed" in second


def test_a_terminal_gets_a_bar_and_a_file_gets_lines():
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=80)
        tally = Tally(3)
        with progress(console, tally) as shown:
            for number in (1, 2, 3):
                tally.done = number
                shown.ended(f"[run] {number}", 0.5)
        text = console.file.getvalue()
        assert ("━" in text) == is_terminal
        # The first one, none within seconds of it, and the last one whenever it comes.
        told = ["1 of 3: [run] 1, 0.5 s; 0:00:00 so far; about 0:00:00 left", "3 of 3: [run] 3, 0.5 s"]
        assert [line in text for line in told] == [not is_terminal] * 2
        assert "2 of 3" not in text


def test_silence_in_a_file_is_broken(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_SILENCE", 1e-3)
    log = Log()
    with progress(Console(file=log, width=80), Tally(2, done=1)) as shown:
        shown.describe("numbers, step 7")
        log.truncate(0)
        log.written.clear()
        assert log.written.wait(60)
        assert log.written.wait(60)
    assert "1 of 2: numbers, step 7; " in log.getvalue()
    assert not any(thread.name.endswith("(_break_silences)") for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.0, "12345"),
        (0.00012344, "0.0001234"),
        (0.5, "0.5"),
        (1e-7, "1e-07"),
        (123.456, "123.5"),
        (1e12, "1e+12"),
        (-0.25, "-0.25"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_four_significant_digits_and_counts_all(value, text):
    assert number_text(value) == text
    assert numbers_text({"step": 1.0, "x": value}) == f"step 1, x {text}"
