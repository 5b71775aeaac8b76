"""class_weight: the weights of rows, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.feeding.batches import split_order
from stopping import StopAfter

X = np.random.default_rng(3).normal(size=(12, 2))
Y = np.array([0] * 8 + [1] * 3 + [2])


def train(net_y=Y, *, loss="softmax_cross_entropy", n_out=3, stream=False, validation=None, seed=0, **options):
    net = cr.MLP([2, n_out], loss=loss, dtype="float64")
    run = cr.Trainer(net, cr.SGD(0.5), epochs=3, batch_size=5, stream=stream, seed=seed).fit(
        X, net_y, validation=validation, **options
    )
    return net.parameter_arena.flat.tolist(), run.history


@pytest.mark.parametrize("stream", [False, True])
def test_balanced_class_weight_is_a_sample_weight(stream):
    """scikit-learn: compute_class_weight("balanced", ...) gives n / (classes * count)."""
    weights = np.array([12 / (3 * 8), 12 / (3 * 3), 12 / 3])
    got, history = train(class_weight="balanced", stream=stream)
    want, other = train(sample_weight=weights[Y])
    assert got == want
    assert history["loss"] == other["loss"]
    assert got != train()[0]


@pytest.mark.parametrize("stream", [False, True])
def test_class_weight_by_label_times_sample_weight(stream):
    own = np.random.default_rng(1).uniform(0.5, 2, 12)
    got = train(class_weight={1: 3, np.int64(2): 0.5}, sample_weight=own, stream=stream)[0]
    np.testing.assert_allclose(got, train(sample_weight=own * np.array([1, 3, 0.5])[Y])[0], rtol=1e-12)


def test_class_weight_of_a_single_yes_or_no():
    yes = (Y == 0).astype(float)
    weights = np.where(yes, 12 / (2 * 8), 12 / (2 * 4))
    options = {"loss": "sigmoid_cross_entropy", "n_out": 1}
    assert train(yes, class_weight="balanced", **options)[0] == train(yes, sample_weight=weights, **options)[0]
    smoothed = {"loss": cr.SigmoidCrossEntropy(label_smoothing=0.1), "n_out": 1}
    assert train(yes, class_weight="balanced", **smoothed)[0] == train(yes, sample_weight=weights, **smoothed)[0]


def test_class_weight_in_the_loss_of_validation_rows():
    held = (X[:6], np.array([0, 1, 2, 0, 1, 1]))
    of_training = np.array([12 / (3 * 8), 12 / (3 * 3), 12 / 3])
    _, history = train(class_weight="balanced", validation=held)
    _, want = train(sample_weight=of_training[Y], validation=(*held, of_training[held[1]]))
    assert history["valid_loss"] == want["valid_loss"]


def test_balanced_class_weight_counts_only_classes_that_occur():
    """Tested with a sum: a mean divides by any factor that all weights have in common."""
    two = np.minimum(Y, 1)
    weights = np.where(two == 0, 12 / (2 * 8), 12 / (2 * 4))
    summed = {"loss": cr.SoftmaxCrossEntropy(reduction="sum")}
    assert train(two, class_weight="balanced", **summed)[0] == train(two, sample_weight=weights, **summed)[0]


WRONG = [
    ({"class_weight": "equal"}, cr.OptionError, "class_weight: expected .*, got 'equal'"),
    ({"class_weight": [1, 2, 3]}, cr.OptionError, r"class_weight: expected .*, got \[1, 2, 3\]"),
    ({"class_weight": {3: 1.0}}, cr.OptionError, "class_weight: expected labels from 0 to 2, got 3"),
    ({"class_weight": {"a": 1.0}}, cr.OptionError, "class_weight: expected labels .*, got 'a'"),
    ({"class_weight": {True: 1.0}}, cr.OptionError, "class_weight: expected labels .*, got True"),
    ({"class_weight": {0: -1.0}}, cr.OptionError, "class_weight of 0: expected .*, got -1.0"),
    ({"class_weight": {0: np.nan}}, cr.OptionError, "class_weight of 0: expected .*, got nan"),
    (
        {"class_weight": "balanced", "sample_weight": np.ones(3)},
        cr.ShapeError,
        r"expected sample_weight of shape \(12,\), got \(3,\)",
    ),
    (
        {"class_weight": "balanced", "loss": "huber", "n_out": 1},
        cr.OptionError,
        "a loss of classes, got huber",
    ),
    (
        {"class_weight": {0: 0.0, 1: 0.0, 2: 0.0}},
        cr.DataError,
        "sample_weight: expected at least one weight above 0, got zeros",
    ),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_wrong_class_weight_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        train(**options)


def test_class_weight_of_several_yes_or_no_columns_is_refused():
    with pytest.raises(cr.OptionError, match="expected a loss of classes, got sigmoid_cross_entropy of 2 outputs"):
        train(np.ones((12, 2)), loss="sigmoid_cross_entropy", n_out=2, class_weight="balanced")


def test_class_weight_of_a_target_between_yes_and_no_is_refused():
    with pytest.raises(cr.DataError, match=r"a target at row 1: expected 0 or 1 with class_weight, got 0\.5"):
        train(np.array([0, 0.5] * 6), loss="sigmoid_cross_entropy", n_out=1, class_weight="balanced")


# ---- what "balanced" goes by, and what metrics go by ------------------------------------------------


def balanced(y, w=None):
    """scikit-learn's compute_class_weight, of sums of weights."""
    w = np.ones(len(y)) if w is None else w
    sums = np.bincount(y, w, 3)
    return np.where(sums > 0, w.sum() / (np.count_nonzero(sums) * np.where(sums > 0, sums, 1)), 1)


@pytest.mark.parametrize("stream", [False, True])
def test_balanced_class_weight_goes_by_sums_of_sample_weight(stream):
    own = np.array([2.0, 0, 0, 1, 0.5, 0, 0, 3, 1, 0, 0, 0.25])
    got = train(class_weight="balanced", sample_weight=own, stream=stream)[0]
    want = train(sample_weight=own * balanced(Y, own)[Y], stream=stream)[0]
    assert got == pytest.approx(want, rel=1e-12)
    kept = own > 0
    assert (balanced(Y, own) == balanced(Y[kept], own[kept])).all(), "rows of weight 0 do not count"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("weighted", "seed"), [(False, 0), (True, 0), (True, 4)])
def test_balanced_class_weight_does_not_count_rows_held_out(stream, weighted, seed):
    own = np.random.default_rng(1).uniform(0.5, 2, 12) if weighted else None
    net = cr.MLP([2, 3], dtype="float64")
    training = net.backend.download(split_order(net.backend, 12, 0.4, seed)[0])
    want = balanced(Y[training], None if own is None else own[training])[Y]
    assert not np.allclose(want, balanced(Y, own)[Y])
    got, history = train(class_weight="balanced", sample_weight=own, validation=0.4, stream=stream, seed=seed)
    weights = want if own is None else want * own
    other, expected = train(sample_weight=weights, validation=0.4, stream=stream, seed=seed)
    assert got == pytest.approx(other, rel=1e-12)
    assert history["valid_loss"] == pytest.approx(expected["valid_loss"], rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_class_weight_is_one_for_a_class_without_training_weight(weighted):
    """Only rows that are trained on count."""
    y = np.minimum(Y, 1)
    own = np.where(np.arange(12) % 5, 1.0, 2.0) if weighted else None
    held = (X[:4], np.array([0, 1, 2, 2]))
    _, history = train(y, class_weight="balanced", sample_weight=own, validation=held)
    weights = balanced(y, own)
    assert weights[2] == 1
    all_weights = weights[y] if own is None else weights[y] * own
    _, want = train(y, sample_weight=all_weights, validation=(*held, weights[held[1]]))
    assert history["valid_loss"] == want["valid_loss"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_out", [1, 3])
@pytest.mark.parametrize("class_weight", ["balanced", {0: 0.1, 1: 7}])
def test_accuracy_uses_sample_weight_but_not_class_weight(backend, class_weight, n_out, weighted, drop_last, stream):
    """Of training and of validation rows; no weight moves, so the accuracy of an epoch is that of the net."""
    y = Y if n_out == 3 else np.minimum(Y, 1)
    own = np.random.default_rng(2).integers(0, 4, 12).astype(float) if weighted else None
    loss = "softmax_cross_entropy" if n_out == 3 else "sigmoid_cross_entropy"
    net = cr.MLP([2, 4, n_out], loss=loss, backend=backend, seed=3)
    trainer = cr.Trainer(
        net,
        cr.SGD(1e-30),
        epochs=2,
        batch_size=5,
        stream=stream,
        drop_last=drop_last,
        shuffle=not drop_last,
        metrics=["balanced_accuracy"],
    )
    validation = (X[:9], y[:9]) if own is None else (X[:9], y[:9], own[:9])
    history = trainer.fit(X, y, sample_weight=own, class_weight=class_weight, validation=validation).history
    right = np.asarray(net.predict(X)) == y
    used = 10 if drop_last else 12
    of = (lambda n: None) if own is None else (lambda n: own[:n])
    assert history["accuracy"] == pytest.approx([np.average(right[:used], weights=of(used))] * 2, rel=1e-6)
    assert history["valid_accuracy"] == pytest.approx([np.average(right[:9], weights=of(9))] * 2, rel=1e-6)
    recalls = [np.average(right[:9][y[:9] == c], weights=None if own is None else own[:9][y[:9] == c]) for c in (0, 1)]
    assert history["valid_balanced_accuracy"] == pytest.approx([np.mean(recalls)] * 2, rel=1e-6)
    assert history["valid_loss"][0] != pytest.approx(
        cr.Trainer(net, cr.SGD(1e-30), epochs=1).fit(X, y, validation=validation).history["valid_loss"][0]
    )


def test_accuracy_with_class_weight_and_drop_last():
    """Shuffled, with a ragged batch dropped: other rows in each epoch."""
    own = 2.0 ** np.arange(12)
    net = cr.MLP([2, 3], seed=3)
    trainer = cr.Trainer(net, cr.SGD(1e-30), epochs=4, batch_size=5, drop_last=True)
    history = trainer.fit(X, Y, sample_weight=own, class_weight="balanced").history
    assert len(set(history["accuracy"])) > 1
    right = np.asarray(net.predict(X)) == Y
    possible = {
        np.average(np.delete(right, out), weights=np.delete(own, out)) for out in itertools.combinations(range(12), 2)
    }
    for value in history["accuracy"]:
        assert min(abs(value - p) for p in possible) < 1e-6


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_fit_with_class_weight_resumes_to_the_same_bits(tmp_path, stream, drop_last):
    """Also the accuracy of the epoch under way, whose rows were counted before and after."""
    own = np.random.default_rng(2).uniform(0.5, 2, 12)

    def fit(**options):
        resume = options.pop("resume", None)
        net = cr.MLP([2, 3], seed=1)
        trainer = cr.Trainer(
            net, batch_size=4, epochs=3, stream=stream, drop_last=drop_last, monitor="valid_accuracy", **options
        )
        run = trainer.fit(X, Y, sample_weight=own, class_weight="balanced", validation=0.2, resume=resume)
        return net.parameter_arena.flat.tolist(), {k: v for k, v in run.history.items() if k != "seconds"}

    whole = fit()
    batches = 2 if drop_last else 3
    fit(checkpoints=tmp_path, callbacks=[StopAfter(batches + 1)])
    assert fit(resume=tmp_path) == whole
