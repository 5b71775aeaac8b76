"""Passes that a net keeps for predictions: the answer is always that of a net which has kept none."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import answer_pass
from chainrule.nn.layered_net import LayeredNet

N_IN = 5
X = np.random.default_rng(0).normal(size=(40, N_IN))


def make(**options: object) -> cr.MLP:
    return cr.MLP([N_IN, 7, 3], **options)


@pytest.fixture
def binds(monkeypatch) -> list[int]:
    """The rows of each pass that is laid out."""
    made: list[int] = []
    bind = LayeredNet.bind

    def counted(self, n, **options):
        made.append(n)
        return bind(self, n, **options)

    monkeypatch.setattr(LayeredNet, "bind", counted)
    return made


def test_few_rows_need_no_new_memory_and_get_new_arrays(binds, backend):
    net = make(backend=backend)
    first = net.predict_proba(X[:1])
    kept = first.copy()
    second = net.predict_proba(X[1:2])
    assert binds == [1]
    np.testing.assert_array_equal(first, kept)
    assert (first != second).any()
    for n in (1, 2, 2, 1):
        net.predict(X[:n])
    assert binds == [1, 1, 2], "one for each answer and number of rows"


def test_many_rows_keep_no_memory(binds, monkeypatch):
    monkeypatch.setattr(answer_pass, "KEPT", 20 * 7)
    net = make()
    for n in (21, 21, 20, 20):
        net.predict(X[:n])
    assert binds == [21, 21, 20]


def test_the_number_of_passes_is_bounded(binds):
    net = make()
    for n in range(1, 31):
        net.predict(X[:n])
    assert len(net._passes._idle) <= answer_pass.MOST_KEPT


@pytest.mark.parametrize("members", [1, 3])
def test_what_changes_the_net_changes_its_predictions(members):
    net, other = (make(members=members, seed=seed) for seed in (0, 1))
    answers = [net.predict_proba(X[:2])]

    def check() -> None:
        got = net.predict_proba(X[:2])
        fresh = net.copy()
        fresh.preparation = net.preparation
        np.testing.assert_array_equal(got, fresh.predict_proba(X[:2]))
        assert all((got != before).any() for before in answers)
        answers.append(got)

    net.assign_parameters({name: np.asarray(array) for name, array in other.parameters().items()})
    check()
    net.parameters()["dense0.b"][...] = 1
    check()
    net.preparation = cr.Preparation(cr.Standardization(np.ones(N_IN), np.full(N_IN, 3.0)))
    check()
    cr.Trainer(net, epochs=1, batch_size=8).fit(X, np.arange(40) % 3)
    check()


def test_dtypes_of_rows_do_not_mix():
    net = make()
    rows = np.arange(2 * N_IN).reshape(2, N_IN)
    for dtype in ("uint8", "int64", "float64", "float32", "uint8"):
        np.testing.assert_array_equal(net.predict_proba(rows.astype(dtype)), make().predict_proba(rows.astype(dtype)))


def test_answers_do_not_mix():
    net = cr.MLP([N_IN, 4, 2], loss="gaussian_nll")
    for _ in range(2):
        np.testing.assert_array_equal(net.predict(X[:3]), net.predict_distribution(X[:3]).mean)
        assert (net.predict_distribution(X[:3]).variance > 0).all()


def test_members_of_an_ensemble_have_their_own():
    net = make(members=3)
    for _ in range(2):
        got = net.predict_proba_members(X[:2])
        for j, of_member in enumerate(got):
            np.testing.assert_array_equal(of_member, make(member=j).predict_proba(X[:2]))
        np.testing.assert_allclose(net.predict_proba(X[:2]), got.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_take_none_along(copied):
    net = make()
    net.predict(X[:4])
    other = copied(net)
    assert not other._passes._idle
    other.parameters()["dense1.b"][...] = [0, 0, 50]
    assert (other.predict(X[:4]) == 2).all()
    np.testing.assert_array_equal(net.predict(X[:4]), make().predict(X[:4]))


def test_a_net_is_freed_without_a_search_for_cycles():
    net = make()
    net.predict(X[:4])
    gone = weakref.ref(net.parameter_arena)
    gc.disable()
    try:
        del net
        assert gone() is None
    finally:
        gc.enable()


def test_a_pass_that_was_interrupted_is_not_used_again(monkeypatch, binds):
    net = make()
    want = net.predict_proba(X[:2])
    forward = answer_pass.Pass.forward

    def interrupted(self, x):
        forward(self, x)
        raise KeyboardInterrupt

    monkeypatch.setattr(answer_pass.Pass, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        net.predict_proba(X[:2])
    monkeypatch.setattr(answer_pass.Pass, "forward", forward)
    np.testing.assert_array_equal(net.predict_proba(X[:2]), want)
    assert binds == [2, 2]


def test_several_threads_predict_few_rows_with_one_net():
    net = make()
    want = [make().predict_proba(X[i : i + 1]) for i in range(8)]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(300):
            if not np.array_equal(net.predict_proba(X[i : i + 1]), want[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- rows as they were given ---------------------------------------------------------------------------------------

PREPARATIONS = {
    "none": cr.Preparation(),
    "standardised": cr.Preparation(cr.Standardization(np.ones(N_IN), np.full(N_IN, 3.0))),
    "limited": cr.Preparation(cr.Standardization(np.ones(N_IN), np.full(N_IN, 3.0), limit=2.0)),
}


def long_way(monkeypatch: pytest.MonkeyPatch, net: cr.Network, X: np.ndarray) -> np.ndarray:
    with monkeypatch.context() as changed:
        changed.setattr("chainrule.nn.network.FEW", 0)
        return net.predict_proba(X)


@pytest.mark.parametrize("preparation", PREPARATIONS)
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_rows_are_answered_as_many_are(monkeypatch, backend, preparation, members, dtype):
    net = make(backend=backend, members=members, dtype=dtype)
    net.preparation = PREPARATIONS[preparation]
    for _ in range(2):
        for rows in (
            X[:3],
            X[:3].astype(np.float32),
            X[:6:2],
            np.asfortranarray(X[:3]),
            X[:1],
            (9 * X[:3]).astype(int),
        ):
            np.testing.assert_array_equal(net.predict_proba(rows), long_way(monkeypatch, net, rows), strict=True)


@pytest.mark.parametrize("preparation", PREPARATIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_few_rows_have_the_errors_of_many(monkeypatch, preparation, value):
    net = make()
    net.preparation = PREPARATIONS[preparation]
    good, bad = X[:3], X[:3].copy()
    bad[1, 2] = value
    want = net.predict_proba(good)
    for _ in range(2):
        if value == 1e300 and preparation == "limited":  # far beyond the limit, and finite
            np.testing.assert_array_equal(net.predict_proba(bad), long_way(monkeypatch, net, bad))
        else:
            with pytest.raises(cr.DataError, match="row 1, column 2"):
                net.predict_proba(bad)
        np.testing.assert_array_equal(net.predict_proba(good), want)


def test_few_rows_in_several_parts_are_all_looked_at(monkeypatch):
    monkeypatch.setattr(cr.Network, "evaluation_rows", lambda _, n: min(n, 4))
    bad = X[:10].copy()
    bad[0, 0] = 1e300
    with pytest.raises(cr.DataError, match="row 0, column 0"):
        make().predict(bad)


def test_codes_of_few_rows_are_checked():
    net = cr.Network([cr.Embedding([4], [3]), cr.Dense(2)], N_IN, loss="squared_error")
    rows = np.abs(X[:2]).round()
    rows[:, 4] = [0, 2]
    for _ in range(2):
        net.predict(rows)
    rows[1, 4] = 0.5
    with pytest.raises(cr.DataError):
        net.predict(rows)
