"""Rows kept in one growing block."""

import torch

from diffstab.stability.growing import GrowingRows


def test_rows_of_all_batches_stay_in_their_order_through_every_growth():
    rows, expected = GrowingRows(), torch.arange(1000 * 3).view(1000, 3)
    for part in expected.split([1, 62, 2, 500, 435]):
        rows.add(part)
    assert len(rows) == 1000
    torch.testing.assert_close(rows.rows, expected)


def test_a_batch_adds_no_block_of_its_own():
    rows = GrowingRows()
    rows.add(torch.ones(1, 2))
    block = rows.rows.data_ptr()
    for _ in range(10):
        rows.add(torch.ones(5, 2))
    assert rows.rows.data_ptr() == block


def test_no_rows_are_an_empty_tensor():
    assert len(GrowingRows()) == 0
    assert GrowingRows().rows.shape == (0,)
