"""The call that np.matmul makes, made by address: the same bits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chainrule.backends.numpy import blas, blas_threads
from chainrule.backends.numpy.blas_routines import AS_IT_IS, COLUMN_MAJOR, ROW_MAJOR, TRANSPOSED, call, routine

SHAPES = [(32, 100, 200), (128, 77, 33), (7, 300, 65), (2, 2, 2), (256, 513, 48)]
EDGES = [(32, 100, 1), (257, 33, 1), (1, 100, 40), (1, 513, 65), (1, 1000, 1), (1, 1, 1), (2, 2, 1)]
DTYPES = [np.float32, np.float64]


@pytest.fixture
def found():
    """The BLAS, on one thread: how many threads share a product decides its bits."""
    found = blas.find()
    if found is None:
        pytest.skip(blas.problem())
    with blas_threads.single_thread():
        yield found


def matrix(rng, rows, columns, dtype, *, transposed=False, spare=0):
    """Random, C-like or transposed, cut out of a matrix that is wider by ``spare``."""
    shape = (columns, rows + spare) if transposed else (rows, columns + spare)
    whole = rng.standard_normal(shape).astype(dtype)
    return whole[:, :rows].T if transposed else whole[:, :columns]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spare", [0, 5])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES + EDGES)
def test_a_call_by_address_has_the_bits_of_matmul(found, m, k, n, dtype, spare):
    rng = np.random.default_rng(m + k + n)
    for a_transposed, b_transposed, out_transposed in itertools.product([False, True], repeat=3):
        a = matrix(rng, m, k, dtype, transposed=a_transposed, spare=spare)
        b = matrix(rng, k, n, dtype, transposed=b_transposed, spare=spare)
        out = matrix(rng, m, n, dtype, transposed=out_transposed, spare=spare)
        right = np.empty_like(out)
        np.matmul(a, b, out=right)
        out[...] = np.nan
        assert call(found.function, found.integer_bits, a, b, out)
        assert out.tobytes() == right.tobytes(), (a_transposed, b_transposed, out_transposed)


def test_nothing_but_the_result_is_written(found):
    whole = np.full((6, 9), 7.0)
    assert call(found.function, found.integer_bits, np.ones((4, 3)), np.ones((3, 5)), whole[1:5, 2:7])
    assert (whole[1:5, 2:7] == 3).all()
    whole[1:5, 2:7] = 7
    assert (whole == 7).all()


def test_the_table():
    """Shapes and strides to the call, as the docstring of the module has it."""
    a, b, column, row = (np.zeros(shape, np.float32) for shape in ((5, 9), (9, 4), (9, 1), (1, 9)))
    out = np.zeros((5, 4), np.float32)
    plain = ("sgemm", False, ROW_MAJOR, (AS_IT_IS, AS_IT_IS), (5, 4, 9), (9, 4, 4))
    assert routine(a, b, out) == plain
    assert routine(a, b.T.copy().T, out) == (*plain[:3], (AS_IT_IS, TRANSPOSED), (5, 4, 9), (9, 9, 4))
    assert routine(a, b, out.T.copy().T) == ("sgemm", True, ROW_MAJOR, (TRANSPOSED,) * 2, (4, 5, 9), (4, 9, 5))
    result = np.zeros((5, 1), np.float32)
    assert routine(a, column, result) == ("sgemv", False, COLUMN_MAJOR, (TRANSPOSED,), (9, 5), (9, 1, 1))
    assert routine(a.T.copy().T, column, result) == ("sgemv", False, ROW_MAJOR, (TRANSPOSED,), (9, 5), (5, 1, 1))
    assert routine(row, b, out[:1]) == ("sgemv", True, ROW_MAJOR, (TRANSPOSED,), (9, 4), (4, 1, 1))
    assert routine(row, b.T.copy().T, out[:1]) == ("sgemv", True, COLUMN_MAJOR, (TRANSPOSED,), (9, 4), (9, 1, 1))
    assert routine(row, b[:, :1], result[:1]) == ("sdot", False, 0, (), (9,), (1, 4))
    assert routine(a.astype(float), b.astype(float), out.astype(float)).name == "dgemm"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones((4, 1)), np.ones((1, 3))),  # an outer product
        (np.ones((4, 1)), np.ones((1, 1))),
        (np.ones((4, 0)), np.ones((0, 3))),
        (np.ones((4, 5))[:, :0], np.ones((5, 3))[:0]),
        (np.ones((0, 4)), np.ones((4, 3))),
        (np.ones((4, 5), np.int64), np.ones((5, 3), np.int64)),
        (np.ones((4, 5), np.float16), np.ones((5, 3), np.float16)),
        (np.ones((4, 5), ">f8"), np.ones((5, 3), ">f8")),
        (np.ones((4, 5), np.float32), np.ones((5, 3))),
        (np.ones((4, 10))[:, ::2], np.ones((5, 3))),
        (np.ones((4, 5)), np.ones((10, 6))[::2, ::2]),
        (np.ones((4, 5))[::-1], np.ones((5, 3))),
        (np.broadcast_to(np.ones(5), (4, 5)), np.ones((5, 3))),
        (np.ones((4, 10))[:, ::2], np.ones((5, 1))),
        (np.ones((4, 5)), np.ones((5, 1))[::-1]),
        (np.ones((1, 5))[:, ::-1], np.ones((5, 1))),
        (np.ones((2, 4, 5)), np.ones((2, 5, 3))),
        (np.frombuffer(bytes(8 * 20 + 1), np.uint8)[1:].view(np.float64).reshape(4, 5), np.ones((5, 3))),
    ],
)
def test_what_is_not_one_call_is_none(a, b, found):
    out = np.matmul(a, b)
    assert routine(a, b, out) is None
    assert not call(found.function, found.integer_bits, a, b, out)


def test_a_matrix_times_itself_transposed_is_another_routine():
    a = np.ones((4, 5))
    out = np.ones((4, 4))
    assert routine(a, a.T, out) is None
    assert routine(a, a.T.copy(), out).name == "dgemm"
    assert routine(a, a.copy().T, out).name == "dgemm"


def test_a_missing_function_is_not_called():
    assert not call(lambda name: None, 64, np.ones((4, 5)), np.ones((5, 3)), np.ones((4, 3)))
