"""Moments passed from fit to fit: several fits are one."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import chainrule as cr

OPTIMIZERS = [cr.Adam(1e-2), cr.AdamW(1e-2), cr.SGD(1e-2, momentum=0.9)]


def fit(net: cr.Network, X: np.ndarray, epochs: int, **options) -> cr.Run:
    return cr.Trainer(net, epochs=epochs, shuffle=False, batch_size=30, **options).fit(X, X[:, 0])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_fits_with_moments_are_one_fit(rng, optimizer):
    """To the bit, dropout included, over a pickle and a change of the device."""
    X = rng.normal(size=(100, 4))
    whole = cr.MLP([4, 8, 1], loss="squared_error", dropout=0.2)
    parts, moments = whole.copy(), cr.Moments()
    fit(whole, X, 6, optimizer=optimizer)
    for epochs in (1, 2, 3):
        fit(parts, X, epochs, optimizer=optimizer, moments=moments)
        moments = pickle.loads(pickle.dumps(moments)) if epochs == 1 else moments
        parts = parts.copy(backend=cr.GuardedBackend()) if epochs == 2 else parts
    assert moments.steps == 24
    found = parts.parameter_arena.download()
    for name, value in whole.parameter_arena.download().items():
        np.testing.assert_array_equal(found[name], value)


def test_without_moments_each_fit_begins_anew(rng):
    X = rng.normal(size=(60, 3))
    nets = [cr.MLP([3, 5, 1], loss="squared_error") for _ in range(2)]
    moments = cr.Moments()
    for _ in range(2):
        fit(nets[0], X, 1)
        fit(nets[1], X, 1, moments=moments)
    assert (nets[0].parameter_arena.flat != nets[1].parameter_arena.flat).any()


def test_moments_of_another_net_or_optimiser_are_refused(rng):
    X = rng.normal(size=(60, 3))
    moments = cr.Moments()
    net = cr.MLP([3, 5, 1], loss="squared_error")
    fit(net, X, 1, moments=moments)
    before = net.parameter_arena.download()
    for other, optimizer in ((net, cr.SGD(1e-2, momentum=0.9)), (cr.MLP([3, 6, 1], loss="squared_error"), cr.Adam())):
        with pytest.raises(
            cr.OptionError, match=r"(?s)moments: expected .* got m, v of another optimiser or net.*Moments\(\)"
        ):
            fit(other, X, 1, optimizer=optimizer, moments=moments)
    assert all((before[name] == value).all() for name, value in net.parameter_arena.download().items())
    with pytest.raises(cr.OptionError, match="moments"):
        cr.Trainer(net, moments={})


def test_moments_with_checkpoints_are_refused(tmp_path):
    with pytest.raises(cr.OptionError, match="moments: expected None with checkpoints"):
        cr.Trainer(cr.MLP([3, 2]), moments=cr.Moments(), checkpoints=tmp_path)


def test_a_divergence_with_moments_has_the_step_of_its_own_fit(rng):
    X = rng.normal(size=(60, 3))
    net, moments = cr.MLP([3, 5, 1], loss="squared_error"), cr.Moments()
    fit(net, X, 4, moments=moments)
    net.assign_parameters({"dense1.b": [3e38]})
    with pytest.raises(cr.DivergenceError) as caught:
        fit(net, X, 1, moments=moments)
    assert caught.value.step == 0
