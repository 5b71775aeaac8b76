"""From arrays to the description of a product: transposes, strides, precision, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy.gemm.gemm import describe_product
from chainrule.errors import ShapeError


@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
def test_a_transposed_view_is_described_as_it_lies_in_memory(a_transposed, b_transposed):
    a = np.zeros((3, 2), np.float32).T if a_transposed else np.zeros((2, 3), np.float32)
    b = np.zeros((5, 3), np.float32).T if b_transposed else np.zeros((3, 5), np.float32)
    product = describe_product(a, b, np.zeros((2, 5), np.float32), "fp32", "bias")
    assert (product.m, product.n, product.k) == (2, 5, 3)
    assert (product.a_transposed, product.b_transposed) == (a_transposed, b_transposed)
    assert (product.lda, product.ldb, product.ldout) == (2 if a_transposed else 3, 3 if b_transposed else 5, 5)
    product.check()


@pytest.mark.parametrize(
    ("dtype", "precision", "described"),
    [
        ("float32", "fp32", "fp32"),
        ("float32", "tf32", "tf32"),
        ("float32", "bf16", "fp32"),
        ("float64", "tf32", "tf32"),
        (BF16, "bf16", "bf16"),
    ],
)
def test_precision_follows_the_dtype_of_the_factors(dtype, precision, described):
    a, b, out = (np.zeros(shape, dtype) for shape in ((2, 3), (3, 4), (2, 4)))
    product = describe_product(a, b, out, precision, "none")
    assert product.precision == described
    product.check()


@pytest.mark.parametrize(
    ("a", "b", "out", "message"),
    [
        (np.zeros((2, 3)), np.zeros((4, 5)), np.zeros((2, 5)), r"got \(2, 5\) = \(2, 3\) @ \(4, 5\)"),
        (np.zeros((2, 3)), np.zeros((3, 5)), np.zeros((2, 4)), r"got \(2, 4\) = \(2, 3\) @ \(3, 5\)"),
        (np.zeros((2, 3)), np.zeros((3, 5), "f4"), np.zeros((2, 5)), "one dtype, got float64 and float32"),
        (np.zeros((2, 3)), np.zeros((3, 5)), np.zeros((2, 10))[:, ::2], r"C-contiguous out, got strides \(80, 16\)"),
        (np.zeros((2, 6))[:, ::2], np.zeros((3, 5)), np.zeros((2, 5)), r"or transposed array, got shape \(2, 3\)"),
    ],
)
def test_arrays_that_make_no_product(a, b, out, message):
    with pytest.raises(ShapeError, match=message):
        describe_product(a, b, out, "fp32", "none")
