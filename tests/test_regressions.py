"""Faults that were found once; each test failed before its fault was mended."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule.files import model_file

X, Y = np.zeros((4, 3)), np.arange(4) % 2


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"]
)
def test_a_copied_net_can_be_trained(clone):
    rows, labels = np.eye(4), np.arange(4)
    net = clone(cr.MLP([4, 4]))
    before = net.predict_proba(rows).copy()
    cr.Trainer(net, cr.SGD(lr=1.0), epochs=3).fit(rows, labels)
    assert not np.array_equal(net.predict_proba(rows), before)


def test_a_last_step_that_overflows_is_a_divergence():
    net = cr.MLP([2, 1], loss="squared_error")
    with pytest.raises(cr.DivergenceError, match="last update"):
        cr.Trainer(net, cr.SGD(lr=1e38), epochs=1).fit(np.full((4, 2), 1e3), np.ones(4))


@pytest.mark.parametrize(("size", "clipped"), [(1e-25, [3e-25, 4e-25]), (1e20, [0.6, 0.8])])
def test_clipping_loses_neither_small_nor_large_gradients(backend, size, clipped):
    gradients = backend.upload(np.float32([3, 4]) * np.float32(size)) * 1
    with backend.running():
        backend.clip_by_global_norm(gradients, max_norm=1.0)
    np.testing.assert_allclose(backend.download(gradients), clipped, rtol=1e-6)


def test_held_out_rows_without_weight_are_refused():
    rows = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(cr.DataError, match="weight 0"):
        cr.Trainer(cr.MLP([3, 1], loss="squared_error"), epochs=1).fit(
            rows, rows[:, :1], sample_weight=np.eye(20)[3], validation=0.25
        )


def test_r2_of_a_summed_loss_is_over_the_rows_that_were_used():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 3))
    net = cr.MLP([3, 1], loss="squared_error_sum", dtype="float64")
    net.parameters()["dense0.W"][:] = 0  # it predicts 0 everywhere
    trainer = cr.Trainer(net, cr.SGD(lr=1e-300), batch_size=15, drop_last=True, epochs=1, shuffle=False)
    assert trainer.fit(rows, rows[:, 0]).history["r2"][0] < 0.3


@pytest.mark.parametrize("values", [[1e17], [1e20, 1e20], [1e-3, 1.5e308], [-1e308, 1e308]])
def test_huge_values_are_plotted_or_left_out(tmp_path, values):
    history = cr.History()
    for value in values:
        history.append({"loss": value})
    history.plot(tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text().startswith("<svg")


DESCRIPTION = {
    "n_in": 3, "layers": [{"kind": "dense", "n_out": 2, "activation": "identity"}], "loss": "squared_error",
    "dtype": "float32", "seed": 0, "feature_names": [], "target_name": "", "classes": [],
}  # fmt: skip
TENSORS = {"parameters.dense0.W": np.zeros((3, 2), "f4"), "parameters.dense0.b": np.zeros(2, "f4")}
SCALED = {"features.mean": np.zeros(3), "features.scale": np.ones(3)}
CRAFTED = {
    "huge": ({"n_in": 2**40}, {}),
    "complex": ({"dtype": "complex128"}, {}),
    "one class": ({"classes": ["only one"]}, {}),
    "one name": ({"feature_names": ["a"]}, {}),
    "scale of 0": ({}, SCALED | {"features.scale": np.zeros(3)}),
    "foreign array": ({}, {"foreign": np.zeros(3)}),
    "empty limit": ({}, SCALED | {"features.limit": np.zeros(0)}),
}


@pytest.mark.parametrize(("description", "tensors"), CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_model_file_with_a_right_checksum(tmp_path, description, tensors):
    model_file.write(tmp_path / "m", DESCRIPTION | description, TENSORS | tensors)
    with pytest.raises(cr.ModelFileError):
        cr.load(tmp_path / "m", device="cpu")


def test_a_net_that_could_not_be_loaded_is_not_saved(tmp_path):
    net = cr.MLP([2, 2])
    net.parameters()["dense0.W"][0, 0] = np.nan
    with pytest.raises(cr.DataError, match="not finite"):
        net.save(tmp_path / "m")


OPTIONS = {
    "dtype": lambda: cr.MLP([3, 2], dtype="foo"),
    "no dtype": lambda: cr.MLP([3, 2], dtype=None),
    "seed": lambda: cr.MLP([3, 2], seed=1.5),
    "true seed": lambda: cr.MLP([3, 2], seed=True),
    "activation without hidden layers": lambda: cr.MLP([3, 2], activation="glu"),
    "backend by name": lambda: cr.MLP([3, 2], backend="cpu"),
    "half patience": lambda: cr.EarlyStopping(patience=1.5),
    "nan patience": lambda: cr.EarlyStopping(patience=float("nan")),
    "text patience": lambda: cr.EarlyStopping(patience="3"),
    "text validation": lambda: cr.Trainer(cr.MLP([3, 2])).fit(X, Y, validation="0.2"),
    "dict validation": lambda: cr.Trainer(cr.MLP([3, 2])).fit(X, Y, validation={}),
    "optimizer by name": lambda: cr.Trainer(cr.MLP([3, 2]), "adam"),
    "text lr": lambda: cr.Adam(lr="0.1"),
    "nan factor": lambda: cr.ParameterGroup("*", lr_factor=float("nan")),
    "infinite eps": lambda: cr.Adam(eps=float("inf")),
    "no device": lambda: cr.backend(None),
}


@pytest.mark.parametrize("make", OPTIONS.values(), ids=OPTIONS)
def test_options_of_the_wrong_kind(make):
    with pytest.raises(cr.OptionError):
        make()


@pytest.mark.parametrize("number", [np.int64(3), np.uint8(3)])
def test_numpy_integers_are_whole_numbers(number):
    assert cr.Dense(number).n_out == 3
    assert cr.Trainer(cr.MLP([number, number]), batch_size=number, epochs=number, seed=number).batch_size == 3


@pytest.mark.parametrize(
    "x", [np.empty((0, 3)), np.array([["a"]]), np.array([[1.0], [np.nan]])], ids=["empty", "text", "nan"]
)
def test_what_cannot_be_standardised(x):
    with pytest.raises(cr.DataError):
        cr.Standardization.fit(x)


@pytest.mark.parametrize(
    "look",
    [
        lambda _, a: a[a > 1],
        lambda _, a: a.sum(where=a > 1),
        lambda be, a: be.xp.sum(a, where=a > 1),
        lambda be, a: be.xp.nonzero(a),
        lambda be, a: be.activation_backward("relu", a, a[0], dz=a, db=a[0]),
    ],
)
def test_the_guard_refuses(look):
    be = cr.GuardedBackend()
    with pytest.raises(cr.GuardError):
        look(be, be.upload(np.arange(6.0).reshape(2, 3)))


def test_the_guard_takes_no_gpu_arrays():
    class OnGpu:
        __cuda_array_interface__: dict[str, object] = {}  # noqa: RUF012 - the protocol wants a plain attribute

    with pytest.raises(cr.DeviceError):
        cr.GuardedBackend().upload(OnGpu())


def test_the_memory_of_a_fit_is_free_when_the_fit_is_over():
    """No cycle holds moments, activations and batches until the collector comes by."""
    net, rows = cr.MLP([200, 300, 10]), np.zeros((500, 200), np.float32)
    labels = np.arange(500) % 10
    cr.Trainer(net, epochs=1).fit(rows, labels, validation=0.2)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(3):
            cr.Trainer(net, epochs=1).fit(rows, labels, validation=0.2)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert held < 100_000, "more than a history was kept"
