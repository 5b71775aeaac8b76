"""Compiled kernels on k members at once: what each does for one net, to rounding."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.losses.names import LOSSES, find_loss
from chainrule.nn.passes import new_state

CLOSE = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-12, "atol": 1e-14}}
K, N, N_IN, N_OUT = 3, 7, 5, 4


@pytest.fixture(scope="module")
def be():
    pytest.importorskip("numba")
    return compiled.loaded()


def apart(rng, shape, dtype):
    """Parameters of members that lie apart, as in an arena."""
    size = int(np.prod(shape))
    return rng.normal(size=(K, size + 11)).astype(dtype)[:, 3 : 3 + size].reshape((K, *shape))


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("activation", ["identity", "relu", "tanh", "selu", "gelu"])
def test_dense_and_its_gradients(be, rng, activation, dtype):
    x, W, b = rng.normal(size=(K, N, N_IN)).astype(dtype), apart(rng, (N_IN, N_OUT), dtype), apart(rng, (N_OUT,), dtype)
    y, one = np.empty((K, N, N_OUT), dtype), np.empty((N, N_OUT), dtype)
    be.dense(x, W, b, activation, z=y, y=y)
    dy, db, db_alone = rng.normal(size=y.shape).astype(dtype), apart(rng, (N_OUT,), dtype), np.empty(N_OUT, dtype)
    saved, dz = np.abs(y) % 1, np.empty_like(y)
    be.activation_backward(activation, saved, dy, dz=dz, db=db)
    for j in range(K):
        NumPyBackend().dense(x[j], W[j], b[j], activation, z=one, y=one)
        np.testing.assert_allclose(y[j], one, **CLOSE[dtype])
        NumPyBackend().activation_backward(activation, saved[j], dy[j], dz=one, db=db_alone)
        np.testing.assert_allclose(dz[j], one, **CLOSE[dtype])
        np.testing.assert_allclose(db[j], db_alone, **CLOSE[dtype])


@pytest.mark.parametrize("weights", ["none", "shared", "own", "none of a member"])
@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("shared_targets", [False, True])
def test_losses(be, rng, name, weights, shared_targets):
    loss = find_loss(name, 6)
    labels = loss.task == "classify"
    targets = rng.integers(0, 6, (K, N)).astype(np.int32) if labels else rng.uniform(0.1, 0.9, (K, N, loss.columns))
    targets = targets[0] if shared_targets else targets
    own = rng.uniform(0.5, 2, (K, N))
    own[1] *= weights != "none of a member"
    given = {"none": None, "shared": own[0], "own": own, "none of a member": own}[weights]
    z, state = rng.normal(size=(K, N, 6)), new_state(be)
    batch = LossBatch(z, targets, given, state, np.zeros((K, 2, 3)), np.empty_like(z))
    with be.running():
        loss(be, batch)
        for member in batch.members():
            alone = member._replace(totals=np.zeros((2, 3)), dlogits=np.empty((N, 6)))
            loss(NumPyBackend(), alone)
            np.testing.assert_allclose(member.totals, alone.totals, rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(member.dlogits, alone.dlogits, rtol=1e-11, atol=1e-14)
    assert state[2] == -1


def test_a_loss_that_is_not_finite_halts_all(be, rng):
    z, state = rng.normal(size=(K, N, 6)), new_state(be)
    z[1, 2, 3] = np.nan
    labels = rng.integers(0, 6, (K, N)).astype(np.int32)
    with be.running():
        find_loss("softmax_cross_entropy", 6)(
            be, LossBatch(z, labels, None, state, np.zeros((K, 1, 3)), np.empty_like(z))
        )
    assert state[2] == 0


def test_dropout_has_the_masks_of_each_member(be, rng):
    x, out, alone = rng.normal(size=(K, N, 5)), np.empty((K, N, 5)), np.empty((N, 5))
    state = new_state(be)
    be.dropout(x, state, key=(1, 2), counter=(3, 4), rate=0.4, out=out)
    for j in range(K):
        NumPyBackend().dropout(x[j], state, key=(1, 2), counter=(3, 4 + (j << 16)), rate=0.4, out=alone)
        np.testing.assert_array_equal(out[j], alone)
