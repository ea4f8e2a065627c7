import threading
import time

import pytest
import torch

from diffstab.kernels.workers import shared_out


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_values_come_in_order_from_threads_that_compute_alone():
    both, seen, told = threading.Barrier(2, timeout=60), set(), []

    def square(number):
        both.wait()  # both threads are at work
        seen.add(torch.get_num_threads())
        return number**2

    assert shared_out(square, range(6), after=told.append) == [0, 1, 4, 9, 16, 25]
    assert (seen, told) == ({1}, [1, 2, 3, 4, 5, 6])
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("place", ["function", "after"])
def test_an_error_ends_it_and_leaves_the_number_of_threads(place):
    done = []

    def fail(*_):
        raise RuntimeError("stop")

    def work(number):
        done.append(number)
        time.sleep(0)
        return number

    options = {"function": (fail, None), "after": (work, fail)}[place]
    with pytest.raises(RuntimeError, match="stop"):
        shared_out(options[0], range(10_000), **({"after": options[1]} if options[1] else {}))
    assert torch.get_num_threads() == 2
    assert len(done) < 10_000
