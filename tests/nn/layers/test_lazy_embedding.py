"""Updates of those vectors of an embedding alone whose categories are in the batch."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import OptionError
from stopping import StopAfter

N, COUNTS = 23, (9, 4)
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, 5))
X[:, 3], X[:, 0] = RNG.integers(0, COUNTS[0] - 1, N), RNG.integers(0, COUNTS[1], N)  # no row has the code 8
Y = np.arange(N) % 3


def make(backend: cr.Backend | None = None, members: int = 1, dtype: str = "float64") -> cr.Network:
    layers = [cr.Embedding([3, 0], COUNTS, [2, 5]), cr.Dense(6, "tanh"), cr.Dense(3)]
    return cr.Network(layers, 5, backend=backend, dtype=dtype, seed=3, members=members)


def train(net: cr.Network, optimizer: Any, **options: Any) -> cr.Run:
    fit = {name: options.pop(name) for name in ("resume",) if name in options}
    return cr.Trainer(net, optimizer, batch_size=6, **{"epochs": 3, "seed": 2} | options).fit(X, Y, **fit)


def weights(net: cr.Network) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in net.parameter_arena.download().items()}


@pytest.mark.parametrize("members", [1, 3])
def test_plain_gradient_descent_has_the_bits_of_an_update_of_all_vectors(backend, monkeypatch, members):
    few, all_vectors = make(backend, members), make(backend, members)
    train(few, cr.SGD(0.1))
    monkeypatch.setattr(cr.SGD, "leaves_out_untouched", False)
    train(all_vectors, cr.SGD(0.1))
    assert weights(few) == weights(all_vectors)


@pytest.mark.parametrize("optimizer", [cr.AdamW(0.02, weight_decay=0.5), cr.SGD(0.1, momentum=0.9, weight_decay=0.1)])
def test_lazy_embedding_leaves_a_category_alone_that_no_batch_has(backend, optimizer):
    kept, decayed, first = make(backend), make(backend), make(backend).parameter_arena.download()["embedding0.E0"]
    train(kept, cr.Adam(0.02, lazy_embedding=True))
    train(decayed, optimizer)
    assert (kept.parameter_arena.download()["embedding0.E0"][-1] == first[-1]).all()
    assert (kept.parameter_arena.download()["embedding0.E0"][:-1] != first[:-1]).all()
    assert (decayed.parameter_arena.download()["embedding0.E0"][-1] != first[-1]).all()


def test_lazy_embedding_updates_a_vector_and_its_moments_in_the_steps_that_its_category_is_in():
    """Each batch is a step of its own: the one category of a batch is updated as in a table of that vector alone."""
    net, moments = make(), cr.Moments()
    optimizer = cr.Adam(0.02, lazy_embedding=True)
    options: dict[str, Any] = {"moments": moments, "epochs": 1, "shuffle": False}
    arena = net.parameter_arena
    for step, rows in enumerate(([0, 1, 2], [3, 4], [5, 6, 7])):
        before = {"W": arena.download(), **{name: m.download() for name, m in moments.arenas.items()}}
        cr.Trainer(net, optimizer, batch_size=10, **options).fit(X[rows], Y[rows])
        after = {"W": arena.download(), **{name: m.download() for name, m in moments.arenas.items()}}
        for t, column in enumerate((3, 0)):
            present = np.isin(np.arange(COUNTS[t]), X[rows, column])
            for name, arrays in after.items():
                old = before.get(name, {f"embedding0.E{t}": 0.0})[f"embedding0.E{t}"]
                changed = (arrays[f"embedding0.E{t}"] != old).any(axis=1)
                np.testing.assert_array_equal(changed, present, f"step {step}: {name} of table {t}")


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("optimizer", [cr.AdamW, cr.SGD])
def test_every_backend_trains_a_lazy_embedding_the_same(backend, members, optimizer):
    net, plain = make(backend, members), make(NumPyBackend(), members)
    options = {"momentum": 0.9} if optimizer is cr.SGD else {}
    for each in (net, plain):
        train(each, optimizer(0.02, lazy_embedding=True, weight_decay=0.1, **options))
    want = plain.parameter_arena.download()
    for key, value in net.parameter_arena.download().items():
        np.testing.assert_allclose(value, want[key], rtol=0, atol=1e-11, err_msg=key)


@pytest.mark.parametrize("members", [1, 2])
def test_a_fit_with_a_lazy_embedding_resumes_to_the_same_bits(tmp_path, members):
    optimizer = cr.AdamW(0.02, lazy_embedding=True)
    whole, stopped, resumed = (make(members=members) for _ in range(3))
    train(whole, optimizer)
    train(stopped, optimizer, callbacks=[StopAfter(5)], checkpoints=tmp_path)
    with pytest.raises(OptionError, match="other settings: optimizer"):
        train(resumed, cr.AdamW(0.02), resume=tmp_path)
    train(resumed, optimizer, resume=tmp_path)
    assert weights(resumed) == weights(whole)


def test_a_penalty_is_one_on_every_vector():
    """Its gradient is that of all weights, so nothing is left out."""
    lazy, plain = make(), make()
    for net, optimizer in ((lazy, cr.Adam(0.02, lazy_embedding=True)), (plain, cr.Adam(0.02))):
        train(net, optimizer, l2=0.3)
    assert weights(lazy) == weights(plain)


def test_lazy_embedding_with_accumulated_gradients_is_refused():
    with pytest.raises(OptionError, match="lazy_embedding: expected False with accumulate=2"):
        cr.Trainer(make(), cr.Adam(lazy_embedding=True), accumulate=2)
    with pytest.raises(OptionError, match="lazy_embedding: expected True or False"):
        cr.Adam(lazy_embedding="yes")  # type: ignore[arg-type]


def test_a_net_with_gradients_that_was_pickled_before_their_vectors_were_marked_trains_on():
    pickled, net = make(), make()
    pickled.loss_and_gradients(X[:3], Y[:3])
    del pickled.__dict__["_touched"]
    older = pickle.loads(pickle.dumps(pickled))
    for each in (older, net):
        train(each, cr.SGD(0.1))
    assert weights(older) == weights(net)


def test_gradients_do_not_depend_on_what_their_memory_held(backend):
    """A fit that has diverged leaves nan there, also where no row of its last batch had the category."""
    net = make(backend)
    _, want = net.loss_and_gradients(X[:4], Y[:4])
    for _ in range(2):
        net.loss_and_gradients(X[:4], Y[:4])
        with backend.running():
            backend.fill(np.nan, out=net.gradient_arena.flat)
        _, found = net.loss_and_gradients(X[:4], Y[:4])
        for name, value in want.items():
            np.testing.assert_array_equal(backend.download(found[name]), backend.download(value), name)
