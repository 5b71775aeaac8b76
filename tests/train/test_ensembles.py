"""Training an ensemble: member j is the net that is trained alone with member=j, with its own weights of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr

N, N_IN, K = 75, 6, 3
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ragged last batch dropped": {"drop_last": True},
    "dropout": {"net": {"dropout": 0.3}},
    "layer norm": {"net": {"normalization": "layer", "residual": True}},
    "batch norm": {"net": {"normalization": "batch"}},
    "clip_norm": {"optimizer": cr.Adam(lr=0.02, clip_norm=0.05)},
    "groups": {"optimizer": cr.AdamW(lr=0.02, weight_decay=0.1, groups=[cr.ParameterGroup("dense1.*", lr_factor=0.5)])},
    "groups of members": {"optimizer": cr.Adam(lr=0.02, groups=[cr.ParameterGroup("dense0.*", 0.0, members=(1, 9))])},
    "groups of rows": {"optimizer": cr.Adam(lr=0.02, groups=[cr.ParameterGroup("*.W", 3.0, rows=(1, 3))])},
    "momentum": {"optimizer": cr.SGD(lr=0.05, momentum=0.9, nesterov=True)},
    "accumulate": {"accumulate": 3},
    "ema": {"ema": 0.9},
    "l2": {"l2": 0.3},
    "streamed": {"stream": True},
    "not shuffled": {"shuffle": False},
    "encoded numbers and a linear path": {"net": {"layers": True}},
}


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, N_IN)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
    weights = rng.uniform(0.2, 2, size=(K, N))
    weights[0, :20] = weights[1, 20:40] = 0  # left out
    return X, y, weights


def train(net: cr.Network, X: Any, y: Any, **options: Any) -> cr.Run:
    fit = {name: options.pop(name) for name in ("sample_weight", "validation", "resume") if name in options}
    options = {"optimizer": cr.Adam(lr=0.02), "batch_size": 16, "epochs": 3, "seed": 5, **options}
    return cr.Trainer(net, options.pop("optimizer"), **options).fit(X, y, **fit)


EDGES = [[-1.0, 0.0, 0.5, 2.0], [], [-2.0, -0.5, 0.5, 1.0, 1.5]]
TABLE_LAYERS = [
    cr.PiecewiseLinear(EDGES),
    cr.Scale(),
    cr.Concatenate([cr.Dense(8, "selu", start=cr.Start("lecun", bias_std=1, rows=N_IN)), cr.Dropout(0.1)]),
    cr.Dense(3, start=cr.Start("lecun", rows=4)),
]


def make(backend: cr.Backend, dtype: str = "float32", **options: Any) -> cr.Network:
    if options.pop("layers", False):
        return cr.Network(TABLE_LAYERS, N_IN, backend=backend, dtype=dtype, seed=11, **options)
    return cr.MLP([N_IN, 8, 8, 3], backend=backend, dtype=dtype, seed=11, **options)


def assert_same(backend: cr.Backend, member: cr.Network, alone: cr.Network) -> None:
    """The same bits, but for compiled loops, which may round differently."""
    ours, theirs = member.parameter_arena.download(), alone.parameter_arena.download()
    for name, value in theirs.items():
        if type(backend).__name__ == "CompiledBackend":
            np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-5 * np.abs(value).max(), err_msg=name)
        else:
            np.testing.assert_array_equal(ours[name], value, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_a_member_is_the_net_that_is_trained_alone(backend, rows, case):
    X, y, weights = rows
    options = dict(CASES[case])
    of_net = options.pop("net", {})
    ensemble = make(backend, members=K, **of_net)
    train(ensemble, X, y, sample_weight=weights, **options)
    for j in range(K):
        alone = make(backend, member=j, **of_net)
        train(alone, X, y, sample_weight=weights[j], **options)
        assert_same(backend, ensemble.member(j), alone)


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gaussian_nll", "sigmoid_cross_entropy"])
def test_first_biases_and_losses_of_numbers(rows, loss):
    """float64; every member starts from the constant of its own rows."""
    X, y, weights = rows
    be = cr.backend("cpu")
    target = (y > 0) if loss == "sigmoid_cross_entropy" else y.astype(float)

    def make(**options: Any) -> cr.MLP:
        return cr.MLP([N_IN, 5, 2 if loss == "gaussian_nll" else 1], loss=loss, backend=be, dtype="float64", **options)

    ensemble = make(members=K)
    train(ensemble, X, target, sample_weight=weights)
    for j in range(K):
        alone = make(member=j)
        train(alone, X, target, sample_weight=weights[j])
        np.testing.assert_allclose(
            ensemble.member(j).parameter_arena.flat, alone.parameter_arena.flat, rtol=1e-12, atol=1e-14
        )


def test_members_differ_in_initial_weights_and_batches(rows):
    X, y, _ = rows
    ensemble = make(cr.backend("cpu"), members=2)
    before = ensemble.parameter_arena["dense0.W"].copy()
    assert not np.allclose(before[0], before[1])
    same = {name: np.stack([value[0]] * 2) for name, value in ensemble.parameter_arena.download().items()}
    ensemble.assign_parameters(same)
    train(ensemble, X, y, epochs=1)
    W = ensemble.parameter_arena["dense0.W"]
    assert not np.array_equal(W[0], W[1])


def test_history_has_the_mean_of_the_members_losses(rows):
    X, y, weights = rows
    be = cr.backend("cpu")
    run = train(make(be, members=K), X, y, sample_weight=weights)
    alone = [train(make(be, member=j), X, y, sample_weight=weights[j]).history for j in range(K)]
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(run.history[name], np.mean([history[name] for history in alone], axis=0), rtol=1e-5)


def test_validation_is_of_the_mean_prediction(rows):
    X, y, _ = rows
    net = make(cr.backend("cpu"), members=K)
    run = train(net, X, y, validation=(X, y), epochs=2)
    proba = net.predict_proba_members(X).mean(axis=0)
    assert run.best_epoch
    assert run.history["valid_loss"][run.best_epoch - 1] == pytest.approx(-np.log(proba[np.arange(N), y]).mean(), 1e-4)


def test_divergence_names_the_member(rows):
    X, y, weights = rows
    net = make(cr.backend("cpu"), members=K)
    W = net.parameter_arena.download()["dense0.W"]
    W[1] = 3e38
    net.assign_parameters({"dense0.W": W})
    with pytest.raises(cr.DivergenceError, match="of member 1"):
        train(net, X, y, sample_weight=weights)


def test_diagnosis_counts_the_units_of_all_members(rows):
    X, y, _ = rows
    net = make(cr.backend("cpu"), members=K)
    b = net.parameter_arena.download()["dense0.b"]
    b[2, :3] = -1e6  # dead from the start
    net.assign_parameters({"dense0.b": b})
    run = cr.Trainer(net, cr.SGD(lr=1e-3), epochs=1).fit(X, y, diagnose=True)
    first = next(m for m in run.diagnosis.measurements if m.layer == "dense0")
    assert (first.units, first.dead) == (K * 8, 3)


@pytest.mark.parametrize("stream", [False, True])
def test_an_ensemble_resumes_bit_for_bit(rows, tmp_path, stream):
    X, y, weights = rows
    be, options = cr.GuardedBackend(), {"ema": 0.9, "stream": stream}
    whole, half = make(be, members=K, dropout=0.2), make(be, members=K, dropout=0.2)
    train(whole, X, y, sample_weight=weights, epochs=4, **options)

    stops = [lambda record: record.stop() if record.epoch == 2 else None]
    train(half, X, y, sample_weight=weights, epochs=4, checkpoints=tmp_path, callbacks=stops, **options)
    again = make(be, members=K, dropout=0.2)
    run = train(again, X, y, sample_weight=weights, epochs=4, checkpoints=tmp_path, resume=tmp_path, **options)
    assert run.history.epochs == 4
    np.testing.assert_array_equal(be.download(whole.parameter_arena.flat), be.download(again.parameter_arena.flat))


def test_a_checkpoint_of_other_members_is_refused(rows, tmp_path):
    X, y, _ = rows
    be = cr.backend("cpu")
    train(make(be, members=2), X, y, checkpoints=tmp_path)
    with pytest.raises(cr.OptionError, match="members"):
        train(make(be, members=3), X, y, resume=tmp_path)


def test_class_weights_count_for_every_member(rows):
    X, y, _ = rows
    be, weights = cr.backend("cpu"), {0: 3.0, 2: 0.5}
    ensemble = make(be, members=2)
    cr.Trainer(ensemble, epochs=2).fit(X, y, class_weight=weights)
    alone = make(be, member=1)
    cr.Trainer(alone, epochs=2).fit(X, y, class_weight=weights)
    assert_same(be, ensemble.member(1), alone)


def test_lbfgs_takes_one_member_at_a_time(rows):
    X, y, _ = rows
    net = make(cr.backend("cpu"), members=2)
    with pytest.raises(cr.OptionError, match=r"net\.member\(0\)"):
        cr.Trainer(net, cr.LBFGS()).fit(X, y)


def test_weights_of_another_number_of_members_are_refused(rows):
    X, y, weights = rows
    with pytest.raises(cr.ShapeError, match="sample_weight"):
        cr.Trainer(make(cr.backend("cpu"), members=2)).fit(X, y, sample_weight=weights)
