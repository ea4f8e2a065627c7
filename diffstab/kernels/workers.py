"""Threads that share out blocks of a matrix."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Value = TypeVar("Value")


def shared_out(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    after: Callable[[int], object] = lambda done: None,
) -> list[Value]:
    """Return a function of each item, worked out by as many threads as PyTorch is set to.

    Each thread computes alone. To share out every operation instead means to wait for all threads after each: on
    blocks of a matrix that costs several times the work where other processes are at work too. PyTorch's number of
    threads is 1 until all is done, and then as it was; what is not begun when an error comes is left.

    Args:
        function: Of an item, without side effects on others.
        items: In the order of the values.
        after: Told, in this thread, how many of the values are there.
    """
    threads, values = torch.get_num_threads(), []
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for value in pool.map(function, items):
            values.append(value)
            after(len(values))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
    return values
