"""The model axis on the CUDA implementation: a member gets the bits that the same net gets alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.random import MEMBER_SHIFT
from emulation.backend import EmulatedBackend, compiler_problem, narrow
from model_axis.arrays import Arrays
from model_axis.of_layers import layer_cases
from model_axis.of_training import training_cases

pytestmark = pytest.mark.skipif(bool(compiler_problem()), reason=compiler_problem() or "a compiler is there")

MEMBERS, P = 3, 64  # parameters per member, in an arena whose members begin aligned
STATE = np.array([2, 1, RUNNING])


@pytest.fixture
def emulated() -> EmulatedBackend:
    return EmulatedBackend()


def draw(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def parts(dtype: Any = np.float32, seed: int = 0) -> Any:
    """A range of each member's arena: rows that lie apart."""
    return draw(MEMBERS, P, dtype=dtype, seed=seed)[:, 16:47]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["identity", "relu", "tanh"])
def test_a_dense_layer_of_members_that_share_their_rows(emulated, dtype, activation):
    x, W = draw(7, 5, dtype=dtype), draw(MEMBERS, 5, 3, dtype=dtype)
    b, y = draw(MEMBERS, 3, dtype=dtype), np.empty((MEMBERS, 7, 3), dtype)
    emulated.dense(x, W, b, activation, z=y, y=y)
    for j in range(MEMBERS):
        alone = np.empty((7, 3), dtype)
        emulated.dense(x, W[j], b[j], activation, z=alone, y=alone)
        np.testing.assert_array_equal(y[j], alone)


@pytest.mark.parametrize("rows", [7, 3000])
def test_activation_gradients_of_members(emulated, rows):
    saved, dy = (draw(MEMBERS, rows, 3, seed=seed) for seed in (1, 2))
    dz, db = np.empty_like(dy), np.empty((MEMBERS, 3), np.float32)
    emulated.activation_backward("tanh", saved, dy, dz=dz, db=db)
    for j in range(MEMBERS):
        alone, sums = np.empty((rows, 3), np.float32), np.empty(3, np.float32)
        emulated.activation_backward("tanh", saved[j].copy(), dy[j].copy(), dz=alone, db=sums)
        np.testing.assert_array_equal(dz[j], alone)
        np.testing.assert_array_equal(db[j], sums)


@pytest.mark.parametrize("rows", [37, 9001])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_a_member_whose_rows_begin_at_any_address(emulated, rows, weighted):
    logits, targets = draw(MEMBERS, rows, 1), draw(rows, 1, seed=1)
    weights = np.abs(draw(MEMBERS, rows, seed=2)) if weighted else None
    totals, dlogits = np.zeros((MEMBERS, 2, 3)), np.empty_like(logits)
    batch = LossBatch(logits, targets, weights, STATE.copy(), totals, dlogits)
    emulated.elementwise_loss(batch, "squared_error", scale=1.0, mean=True)
    for j in range(MEMBERS):
        one, of_one = np.zeros((2, 3)), np.empty((rows, 1), np.float32)
        w = None if weights is None else weights[j].copy()
        alone = LossBatch(logits[j].copy(), targets, w, STATE.copy(), one, of_one)
        emulated.elementwise_loss(alone, "squared_error", scale=1.0, mean=True)
        np.testing.assert_array_equal(totals[j], one)
        np.testing.assert_array_equal(dlogits[j], of_one)


def test_a_loss_that_is_not_finite_in_one_member_halts_all(emulated):
    logits, state = draw(MEMBERS, 5, 2), STATE.copy()
    logits[1, 3] = np.nan
    labels = np.zeros(5, np.int32)
    batch = LossBatch(logits, labels, None, state, np.zeros((MEMBERS, 2, 3)), np.empty_like(logits))
    emulated.softmax_cross_entropy(batch, scale=1.0, mean=True)
    assert state[2] == STATE[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["adam", "sgd", "sgd with momentum"])
def test_optimisers_of_members_that_lie_apart(emulated, dtype, name):
    lr, arrays = np.array([0.1]), [np.abs(parts(dtype, seed)) for seed in range(4)]

    def update(params: Any, grads: Any, m: Any, v: Any) -> None:
        if name == "adam":
            options: Any = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.1, "decoupled": True}
            emulated.adam(params, grads, m, v, lr, STATE.copy(), lr_factor=0.5, **options)
        else:
            momentum = 0.9 * ("momentum" in name)
            options = {"momentum": momentum, "nesterov": False, "weight_decay": 0.1, "lr_factor": 0.5}
            emulated.sgd(params, grads, m if momentum else None, lr, STATE.copy(), **options)

    alone = [[array[j].copy() for array in arrays] for j in range(MEMBERS)]
    update(*arrays)
    for j, member in enumerate(alone):
        update(*member)
        for ours, theirs in zip(arrays, member, strict=True):
            np.testing.assert_array_equal(ours[j], theirs)


@pytest.mark.parametrize("size", [31, 5000])
@pytest.mark.parametrize("name", ["clip_norm", "l2 penalty", "accumulated gradients"])
def test_sums_over_the_parameters_of_members(emulated, size, name):
    params, grads, out = (draw(MEMBERS, 5008, seed=seed)[:, :size] for seed in range(3))
    totals = np.abs(draw(MEMBERS, 2, 3, dtype=np.float64))

    def work(params: Any, grads: Any, out: Any, totals: Any) -> None:
        if name == "clip_norm":
            emulated.clip_by_global_norm(grads, max_norm=0.5)
        elif name == "l2 penalty":
            emulated.penalize(params, grads, totals, STATE, alpha=0.1, mean=True)
        else:
            emulated.accumulate(grads, totals, STATE, group=2, mean=True, out=out)

    alone = [[array[j].copy() for array in (params, grads, out, totals)] for j in range(MEMBERS)]
    work(params, grads, out, totals)
    for j, member in enumerate(alone):
        work(*member)
        for ours, theirs in zip((params, grads, out, totals), member, strict=True):
            np.testing.assert_array_equal(ours[j], theirs)


def test_the_update_of_all_members_is_one_launch(emulated):
    params, grads, lr = parts(), parts(seed=1), np.array([0.1])
    options: Any = {"lr_factor": 1.0, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    assert len(emulated.record(lambda: emulated.sgd(params, grads, None, lr, STATE, **options))) == 1
    x = draw(MEMBERS, 4, 4)
    drop = lambda: emulated.dropout(x, STATE, key=(1, 2), counter=(3, 4), rate=0.4, out=x)
    assert len(emulated.record(drop)) == 1


@pytest.mark.parametrize("width", [3, 8])
@pytest.mark.parametrize("stored", ["float32", "float64", "bf16"])
def test_dropout_of_members_draws_a_mask_for_each(emulated, width, stored):
    x = narrow(draw(MEMBERS, 9, width)) if stored == "bf16" else draw(MEMBERS, 9, width, dtype=stored)
    out = np.empty_like(x)
    emulated.dropout(x, STATE, key=(1, 2), counter=(3, 4), rate=0.4, out=out)
    assert len({tuple(member.tobytes()) for member in out}) == MEMBERS
    for j in range(MEMBERS):
        alone = np.empty_like(x[j])
        counter = (3, 4 + (j << MEMBER_SHIFT))
        emulated.dropout(x[j].copy(), STATE, key=(1, 2), counter=counter, rate=0.4, out=alone)
        np.testing.assert_array_equal(out[j], alone)


@pytest.mark.parametrize("own", [False, True])
def test_gather_of_members_takes_rows_in_an_order_of_each(emulated, own):
    rng = np.random.default_rng(1)
    order = np.stack([rng.permutation(12) for _ in range(MEMBERS)])
    X, weights = draw(12, 3, dtype=np.float64), draw(*((MEMBERS, 12) if own else (12,)), seed=3)
    out = [np.empty((MEMBERS, 4, 3), np.float32), np.empty((MEMBERS, 4), np.float32)]
    position = np.array([1])
    emulated.gather([X, weights], order, position, stride=4, out=out)
    assert position[0] == 2
    for j in range(MEMBERS):
        rows = order[j, 4:8]
        np.testing.assert_array_equal(out[0][j], X[rows].astype(np.float32))
        np.testing.assert_array_equal(out[1][j], (weights[j] if own else weights)[rows])


def test_a_step_of_members_can_be_recorded(emulated):
    x, W, b = draw(7, 5), draw(MEMBERS, 5, 3), draw(MEMBERS, 3)
    y, dW, db = np.empty((MEMBERS, 7, 3), np.float32), np.empty_like(W), np.empty_like(b)

    def step() -> None:
        emulated.dense(x, W, b, "relu", z=y, y=y)
        emulated.activation_backward("relu", y, y, dz=y, db=db)
        emulated.matmul(x.T, y, out=dW)
        emulated.clip_by_global_norm(dW.reshape(MEMBERS, -1), max_norm=0.5)

    step()
    expected = dW.copy()
    replay = emulated.capture(step)
    replay(3)
    np.testing.assert_array_equal(dW, expected)


@pytest.mark.parametrize("apart", [False, True])
def test_every_call_of_members_can_be_recorded_wherever_they_lie(emulated, memory_of, rng, apart):
    """But for functions of the user's own, and what is for outside a step: array operations, which are no launches."""
    for case in [*layer_cases(), *training_cases()]:
        if case.method not in {"apply", "custom_loss", "scale_and_shift"}:
            arrays = Arrays(case, 3, "float32", rng).of_all(memory_of(emulated), 3, apart=apart)
            case.call(emulated, arrays, 0)  # scratch memory is made by a step that is not recorded
            launches = emulated.record(lambda case=case, arrays=arrays: case.call(emulated, arrays, 0))
            assert launches or case.name == "activate identity in place", case.name
