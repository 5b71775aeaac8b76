"""Several nets along a model axis: their parameters, gradients and predictions are those of each alone."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import chainrule as cr

K = 3


@pytest.fixture
def ensemble(backend: cr.Backend) -> cr.MLP:
    return cr.MLP([5, 7, 3], members=K, seed=2, backend=backend)


def test_initial_weights_are_those_of_the_nets_alone(ensemble):
    for j in range(K):
        alone = cr.MLP([5, 7, 3], member=j, seed=2, backend=ensemble.backend).parameter_arena.download()
        for name, value in ensemble.parameter_arena.download().items():
            np.testing.assert_array_equal(value[j], alone[name])


def test_a_member_shares_the_memory_of_the_ensemble(ensemble):
    be, values = ensemble.backend, np.full((5, 7), 2.0, np.float32)
    ensemble.member(1).assign_parameters({"dense0.W": values})
    found = be.download(ensemble.parameter_arena["dense0.W"])
    np.testing.assert_array_equal(found[1], values)
    assert not (found[0] == 2).any()


def test_gradients_are_those_of_each_member(ensemble, rng):
    X, y = rng.normal(size=(9, 5)), rng.integers(0, 3, 9)
    loss, gradients = ensemble.loss_and_gradients(X, y)
    alone = [ensemble.member(j).loss_and_gradients(X, y) for j in range(K)]
    assert loss == pytest.approx(sum(value for value, _ in alone), rel=1e-6)
    be = ensemble.backend
    for name, gradient in gradients.items():
        own = np.stack([be.download(of_member[name]) for _, of_member in alone])
        np.testing.assert_allclose(be.download(gradient), own, rtol=1e-5, atol=1e-7)


def test_one_member_is_a_plain_net(backend):
    net = cr.MLP([5, 7, 3], members=1, seed=2, backend=backend)
    assert net.parameter_arena["dense0.W"].shape == (5, 7)
    assert net.member(0) is net
    assert "members" not in net.describe()


def test_repr_and_count_of_parameters_include_all_members(ensemble):
    assert f"{K} members" in repr(ensemble)
    assert ensemble.parameter_count == K * ensemble.member(0).parameter_count


def test_copies_and_pickles_keep_their_members(rng):
    net = cr.MLP([5, 7, 3], members=K, member=4, seed=2, dropout=0.1)
    X = rng.normal(size=(6, 5)).astype(np.float32)
    for other in (net.copy(), pickle.loads(pickle.dumps(net))):
        assert (other.members, other.first_member) == (K, 4)
        np.testing.assert_array_equal(other.predict_proba(X), net.predict_proba(X))
    np.testing.assert_allclose(net.copy(dtype="float64").predict_proba(X), net.predict_proba(X), atol=1e-6)


def test_predictions_of_members(backend, rng):
    net = cr.MLP([5, 7, 3], members=K, seed=2, backend=backend)
    X = rng.normal(size=(6, 5)).astype(np.float32)
    assert net.predict_members(X).shape == (K, 6)
    proba = np.asarray(net.predict_proba_members(X))
    assert proba.shape == (K, 6, 3)
    np.testing.assert_allclose(net.predict_proba(X), proba.mean(axis=0), rtol=2e-5, atol=1e-6)
    for j in range(K):
        np.testing.assert_array_equal(proba[j], net.member(j).predict_proba(X))


def test_rows_pass_in_parts_of_the_working_set(rng):
    net = cr.MLP([5, 600, 3], members=K, seed=2)
    X = rng.normal(size=(3000, 5)).astype(np.float32)
    assert net.evaluation_rows(3000) < 3000
    np.testing.assert_allclose(net.predict_proba(X)[[7, 2900]], net.predict_proba(X[[7, 2900]]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{"members": 0}, {"members": 2.5}, {"member": -1}, {"members": 5000}])
def test_bad_numbers_of_members_are_refused(options):
    with pytest.raises(cr.OptionError, match="member"):
        cr.MLP([5, 7, 3], **options)


def test_a_member_that_does_not_exist_is_refused(ensemble):
    with pytest.raises(cr.OptionError, match="member"):
        ensemble.member(K)
