"""Batches: every row once per epoch, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.inputs.rows import Rows
from chainrule.train.feeding.batches import Batches, ResidentBatches, split_rows

FLOAT32 = np.dtype(np.float32)


def make_rows(backend: cr.Backend, n: int, *, weighted: bool = True) -> Rows:
    """Row i is (i, -i), labelled i, of weight i / 10."""
    i = np.arange(n)
    x = np.stack([i, -i], axis=1).astype(np.float32)
    weights = backend.upload((i / 10).astype(np.float32)) if weighted else None
    return Rows(backend.upload(x), backend.upload(i.astype(np.int32)), weights)


def epoch_of(backend: cr.Backend, batches: Batches) -> list[list[int]]:
    """The labels of each batch; features and weights must belong to them."""
    found = []
    for number in range(batches.count):
        read = batches.reader(batches.size if number < batches.full else batches.ragged)
        with backend.running():
            out = read()
        x, labels, *weights = (backend.download(array) for array in out if array is not None)
        np.testing.assert_array_equal(x, np.stack([labels, -labels], axis=1))
        for w in weights:
            np.testing.assert_array_equal(w, (labels / 10).astype(np.float32))
        found.append(labels.tolist())
    return found


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "size", "lengths"), [(10, 4, [4, 4, 2]), (10, 5, [5, 5]), (3, 8, [3]), (1, 1, [1])])
def test_batches_cover_the_rows(backend, n, size, lengths, weighted, shuffle):
    rows = make_rows(backend, n, weighted=weighted)
    batches = ResidentBatches(backend, rows, size, dtype=FLOAT32, shuffle=shuffle, seed=3)
    batches.begin_epoch(0)
    dealt = epoch_of(backend, batches)
    assert [len(labels) for labels in dealt] == lengths
    assert sorted(itertools.chain(*dealt)) == list(range(n))
    if not shuffle:
        assert list(itertools.chain(*dealt)) == list(range(n))


@pytest.mark.parametrize(("n", "count", "ragged"), [(10, 2, 0), (8, 2, 0), (3, 1, 0)])
def test_drop_last(backend, n, count, ragged):
    batches = ResidentBatches(backend, make_rows(backend, n), 4, dtype=FLOAT32, shuffle=True, seed=3, drop_last=True)
    assert (batches.count, batches.full, batches.ragged) == (count, count, ragged)


def test_shuffle_is_a_function_of_seed_and_epoch(backend):
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = ResidentBatches(backend, make_rows(backend, 30), 7, dtype=FLOAT32, shuffle=True, seed=seed)
        batches.begin_epoch(epoch)
        return epoch_of(backend, batches)

    plain = ResidentBatches(cr.backend("cpu"), make_rows(cr.backend("cpu"), 30), 7, dtype=FLOAT32, shuffle=True, seed=5)
    plain.begin_epoch(2)
    assert order(5, 2) == order(5, 2) == epoch_of(cr.backend("cpu"), plain)
    assert len({str(order(seed, epoch)) for seed in (5, 6, 2**63) for epoch in range(4)}) == 12


@pytest.mark.parametrize(("fraction", "held_out"), [(0.3, 6), (0.001, 1), (0.999, 19)])
@pytest.mark.parametrize("weighted", [False, True])
def test_split_rows(backend, fraction, held_out, weighted):
    with backend.running():
        parts = split_rows(backend, make_rows(backend, 20, weighted=weighted), fraction, seed=4)
    labels = []
    for part in parts:
        x, y = backend.download(part.x), backend.download(part.targets)
        np.testing.assert_array_equal(x, np.stack([y, -y], axis=1))
        assert (part.weights is not None) == weighted
        if weighted:
            np.testing.assert_array_equal(backend.download(part.weights), (y / 10).astype(np.float32))
        labels.append(y.tolist())
    assert [len(part) for part in parts] == [20 - held_out, held_out]
    assert sorted(labels[0] + labels[1]) == list(range(20))
