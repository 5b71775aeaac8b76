"""The mean of the predictions of an ensemble's members, as logits, on every backend against its formula."""

from __future__ import annotations

import typing

import numpy as np
import pytest

from chainrule.backends.contract.ensembles import MemberMeanName
from comparisons import assert_within
from pairwise import pairwise

KINDS = typing.get_args(MemberMeanName)
COUNT = 3  # quantiles per target


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def inverse_softplus(gap):
    return gap + np.log(-np.expm1(-gap))


def expected(kind: str, z: np.ndarray) -> np.ndarray:
    """By the predictions themselves, in extended precision."""
    z = z.astype(np.longdouble)
    half, first = z.shape[-1] // 2, np.arange(z.shape[-1]) % COUNT == 0
    if kind == "identity":
        return z.mean(axis=0)
    if kind == "softmax":
        return np.log(softmax(z).mean(axis=0))
    if kind == "sigmoid":
        return np.log((1 / (1 + np.exp(-z))).mean(axis=0)) - np.log((1 / (1 + np.exp(z))).mean(axis=0))
    if kind == "exp":
        return np.log(np.exp(z).mean(axis=0))
    if kind == "quantiles":
        return np.where(first, z.mean(axis=0), inverse_softplus(np.logaddexp(0, z).mean(axis=0)))
    means, variances = z[..., :half], np.exp(z[..., half:])
    return np.concatenate([means.mean(axis=0), np.log(variances.mean(axis=0) + means.var(axis=0))], axis=-1)


def mean_of(backend, memory, kind: str, z: np.ndarray, *, apart: int = 0) -> np.ndarray:
    """``apart`` rows lie between those of one member and the next."""
    logits = memory.array(np.concatenate([z, np.full((len(z), apart, z.shape[-1]), np.nan, z.dtype)], axis=1))
    out = memory.output(z.shape[1:], z.dtype)
    backend.mean_of_members(logits[:, : z.shape[1]], kind, count=COUNT, out=out)
    return memory.read(out)


@pairwise(
    kind=KINDS,
    shape=[(1, 1, 6), (2, 5, 6), (8, 3, 6), (4, 130, 6), (3, 2, 66)],
    apart=[0, 3],
    dtype=["float32", "float64"],
    size=[0.1, 3.0],
)
def test_the_prediction_of_an_ensemble_is_the_mean_of_its_members(
    backend, memory, rng, u, kind, shape, apart, dtype, size
):
    z = (size * rng.normal(size=shape)).astype(dtype)
    want = expected(kind, z)
    # Of an error in a gap g its logit has exp(z) + 1 over exp(z) times as much, which is 1 / g times for small ones.
    bound = 16 * u * (1 + np.abs(z).max(axis=0) + np.abs(want))
    assert_within(mean_of(backend, memory, kind, z, apart=apart), want, bound * (8 if kind == "quantiles" else 1), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_members_of_an_ensemble_that_agree_have_the_logits_of_one(backend, memory, dtype, u, kind):
    """However large: no probability, mean, gap or variance underflows."""
    one = np.array([[0.0, -1e4, 1e4, 3.0, -50.0, 90.0], [1e4, -1e4, -90.0, -30.0, 60.0, -1e4]], dtype)
    found = mean_of(backend, memory, kind, np.stack([one] * 5))
    if kind == "softmax":
        found, one = (z - z.max(axis=-1, keepdims=True) for z in (found, one))
    assert_within(found, one, 4 * u * (1 + np.abs(one)), kind)


def test_probabilities_of_an_ensemble_sum_to_1(backend, memory, rng, dtype, u):
    found = mean_of(backend, memory, "softmax", (4 * rng.normal(size=(3, 40, 6))).astype(dtype))
    assert_within(np.exp(found).sum(axis=-1), np.ones(40), 32 * u)


def test_members_that_contradict_each_other_have_even_odds(backend, memory, dtype, u):
    """Mean probabilities, however sure the members are: a mean of logits or of their logarithms would lean."""
    one = np.array([[1e4, -1e4, -1e4]], dtype)
    found = mean_of(backend, memory, "softmax", np.stack([one, one[:, ::-1]]))
    assert_within(found[0, ::2], [np.log(0.5)] * 2, 4 * u)
    sigmoid = mean_of(backend, memory, "sigmoid", np.stack([one, -one, one]))
    assert_within(sigmoid, np.log([[2.0, 0.5, 0.5]]), 8 * u)


def test_the_variance_of_a_mixture_counts_means_that_differ_even_if_their_squares_overflow(backend, memory, dtype, u):
    far = float(np.sqrt(np.finfo(dtype).max)) * 1e3
    z = np.array([[[far, -1e4]], [[-far, -1e4]]], dtype)
    found = mean_of(backend, memory, "mean_and_variance", z)
    assert_within(found, [[0.0, 2 * np.log(far)]], 8 * u * np.array([[0, 2 * np.log(far)]]))


def test_an_infinite_logit_of_a_member_is_an_infinite_mean_and_no_nan(backend, memory, dtype):
    z = np.array([[[np.inf, -np.inf, 0.0]], [[1.0, -np.inf, -np.inf]]], dtype)
    assert mean_of(backend, memory, "exp", z)[0].tolist() == pytest.approx([np.inf, -np.inf, np.log(0.5)])
    assert mean_of(backend, memory, "sigmoid", z)[0, 1] == -np.inf
    assert mean_of(backend, memory, "quantiles", z)[0, 0] == np.inf
