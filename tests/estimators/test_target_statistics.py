"""Presets on tables with many categories: statistics of the target for the rarer ones, none of a row's own target."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import chainrule as cr
from chainrule.estimators import own_targets
from chainrule.train import ensemble_fit
from chainrule.train.out_of_fold.blocks import leave_out_blocks

pd = pytest.importorskip("pandas", reason="pandas is not installed")

FEW = {"preset": "fast", "max_iter": 8, "device": "cpu", "random_state": 0}
CITIES, N = 150, 900


def table(seed: int, n: int = N):
    """A number and a city, whose levels make up three quarters of the target's variance."""
    rng = np.random.default_rng(seed)
    level = np.random.default_rng(0).normal(size=CITIES)
    city, x = rng.integers(0, CITIES, n), rng.normal(size=n)
    return pd.DataFrame({"city": [f"c{i}" for i in city], "x": x}), 2 * level[city] + x + 0.3 * rng.normal(size=n)


@pytest.fixture(scope="module")
def fitted():
    frame, y = table(1)
    return cr.MLPRegressor(**FEW).fit(frame, pd.Series(y, name="price"))


def columns_of_training(monkeypatch, model, *args, method: str = "fit", **options) -> np.ndarray:
    """The columns of target statistics that the net was trained on."""
    seen = []
    real = own_targets.hide_own_targets

    def spy(rows, *some, **more):
        copies = real(rows, *some, **more)
        seen.append(rows.X.copy())
        return copies

    monkeypatch.setattr(own_targets, "hide_own_targets", spy)
    getattr(model, method)(*args, **options)
    monkeypatch.undo()
    names = model.network_.preparation.feature_names
    return seen[-1][:, [j for j, name in enumerate(names) if ": " in name]] if seen else np.empty((0, 0))


@pytest.mark.parametrize("preset", ["fast", "default", "best"])
def test_no_statistics_of_training_rows_know_a_target_that_judges_the_net(monkeypatch, preset):
    """With other targets of the rows that some member leaves out, all training rows have the same numbers."""
    frame, y = table(1, 400)
    model = cr.MLPRegressor(**FEW | {"preset": preset, "max_iter": 1})
    seen = columns_of_training(monkeypatch, model, frame, y)
    left_out = ~np.isnan(model.oof_prediction_)
    assert 0 < left_out.mean() < 0.6
    again = columns_of_training(monkeypatch, model, frame, np.where(left_out, 100 - y, y))
    np.testing.assert_allclose(again, seen, rtol=1e-12, atol=1e-12)
    assert np.ptp(seen[left_out], axis=0).min() > 0


def test_a_preset_tells_rarer_categories_apart_by_target_statistics(fitted):
    frame, y = table(2)
    names = fitted.network_.preparation.feature_names
    assert names[-3:] == ("city: mean of price", "city: log count", "x")
    assert fitted.score(frame, y) > 0.7
    plain = cr.MLPRegressor(device="cpu", preset=None, max_iter=2, random_state=0).fit(*table(1))
    assert not any(": " in name for name in plain.network_.preparation.feature_names)


def test_target_statistics_stand_in_pickles_and_model_files(fitted, tmp_path):
    frame, _ = table(2, 50)
    frame.loc[3, "city"], frame.loc[4, "city"] = "new", None
    expected = fitted.predict(frame)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(frame), expected)
    fitted.network_.save(tmp_path / "m.safetensors")
    net = cr.load(tmp_path / "m.safetensors", device="cpu")
    np.testing.assert_array_equal(net.predict_table(cr.read_table(frame, like=net, need_target=False)), expected)
    frame.to_csv(tmp_path / "new.csv", index=False)
    again = net.predict_table(cr.read_table(tmp_path / "new.csv", like=net, need_target=False))
    np.testing.assert_allclose(again, expected, rtol=1e-6)


def test_target_statistics_of_an_arrow_table_are_those_of_a_frame(fitted):
    pa = pytest.importorskip("pyarrow")
    frame, y = table(1)
    other = cr.MLPRegressor(**FEW).fit(pa.Table.from_pandas(frame), pd.Series(y, name="price"))
    assert other.network_.preparation.encoder == fitted.network_.preparation.encoder
    np.testing.assert_array_equal(other.predict(pa.Table.from_pandas(frame)), fitted.predict(frame))


def test_no_row_is_trained_with_its_own_target_in_the_target_statistics(monkeypatch):
    frame, _ = table(1)
    noise = np.random.default_rng(5).normal(size=N)
    model = cr.MLPRegressor(**FEW)
    mean = columns_of_training(monkeypatch, model, frame, noise)[:, 0]
    assert abs(np.corrcoef(mean, noise)[0, 1]) < 0.1
    new = model.network_.preparation.encoder.encode(cr.read_table(frame, need_target=False).columns)[:, -3]
    assert np.corrcoef(new, noise)[0, 1] > 0.25, "or this tries nothing"


def test_target_statistics_and_members_have_the_same_blocks(monkeypatch):
    """A member that leaves out a block never sees a mean of its targets in a row of that block."""
    dealt = []

    def spy(*args, **options):
        dealt.append(leave_out_blocks(*args, **options))
        return dealt[-1]

    monkeypatch.setattr(ensemble_fit, "leave_out_blocks", spy)
    frame, y = table(1)
    model = cr.MLPRegressor(**FEW).fit(pd.concat([frame, frame[:50]]), np.r_[y, y[:50]])
    (blocks,) = dealt  # once for both
    np.testing.assert_array_equal(blocks.block[:50], blocks.block[N:])
    np.testing.assert_array_equal(blocks.mask.any(axis=0), ~np.isnan(model.oof_prediction_))
    assert blocks.mask.any()


@pytest.mark.parametrize("options", [{"n_members": 1}, {"early_stopping": True}, {"eval_set": True}])
def test_target_statistics_have_blocks_if_members_leave_out_nothing(monkeypatch, options):
    frame, y = table(1)
    held_out = {"eval_set": table(3)} if options.pop("eval_set", False) else {}
    model = cr.MLPRegressor(**FEW | options)
    mean = columns_of_training(monkeypatch, model, frame, y, **held_out)[:, 0]
    assert len(np.unique(mean)) > 100
    assert model.score(*table(2)) > 0.5


def test_sample_weights_count_in_target_statistics():
    frame, y = table(1)
    weights = np.random.default_rng(2).integers(0, 3, N).astype(float)
    names = ("categories", "labels")
    found = [
        model.network_.preparation.encoder.columns[0].statistics
        for model in (
            cr.MLPRegressor(**FEW | {"max_iter": 1}).fit(frame, y, sample_weight=weights),
            cr.MLPRegressor(**FEW | {"max_iter": 1}).fit(frame[weights > 0], y[weights > 0], weights[weights > 0] / 9),
        )
    ]
    assert [getattr(found[0], name) for name in names] == [getattr(found[1], name) for name in names]
    np.testing.assert_allclose(found[0].means, found[1].means, rtol=1e-12)
    np.testing.assert_array_equal(found[0].counts, found[1].counts)


@pytest.mark.parametrize("classes", [2, 4, 9])
def test_target_statistics_of_a_classifier_are_shares_of_up_to_8_classes(classes):
    frame, y = table(1)
    kind = np.digitize(y, np.quantile(y, np.linspace(0, 1, classes + 1)[1:-1]))
    model = cr.MLPClassifier(**FEW).fit(frame, np.array([f"k{i}" for i in range(classes)])[kind])
    shares = [name for name in model.network_.preparation.feature_names if "share of" in name]
    assert shares == {2: ["city: share of k1"], 4: [f"city: share of k{i}" for i in range(4)], 9: []}[classes]


def test_target_statistics_of_several_labels_and_targets():
    frame, y = table(1)
    labels = np.column_stack([y > 0, y > 1]).astype(int)
    model = cr.MLPClassifier(**FEW).fit(frame, labels)
    assert "city: mean of target 1" in model.network_.preparation.feature_names
    several = cr.MLPRegressor(**FEW).fit(frame, np.column_stack([y, -y]))
    assert "city: mean of target 0" in several.network_.preparation.feature_names


def test_a_warm_start_hides_a_rows_own_target_too(monkeypatch):
    frame, y = table(1)
    model = cr.MLPRegressor(**FEW, warm_start=True)
    first = columns_of_training(monkeypatch, model, frame, y)
    encoder = model.network_.preparation.encoder
    np.testing.assert_array_equal(columns_of_training(monkeypatch, model, frame, y), first)
    noise = np.random.default_rng(5).normal(size=N)
    mean = columns_of_training(monkeypatch, model, frame, noise)[:, 0]
    assert abs(np.corrcoef(mean, noise)[0, 1]) < 0.1
    assert model.network_.preparation.encoder == encoder


def test_partial_fit_hides_a_rows_own_target_if_the_target_statistics_have_it(monkeypatch):
    frame, y = table(1)
    model = cr.MLPRegressor(**FEW)
    first = columns_of_training(monkeypatch, model, frame, y, method="partial_fit")
    again = columns_of_training(monkeypatch, model, frame, y, method="partial_fit")
    np.testing.assert_array_equal(again, first)
    assert not columns_of_training(monkeypatch, model, *table(2), method="partial_fit").size


def test_rows_of_other_categories_are_no_copies_though_their_statistics_are_equal(monkeypatch):
    """A column with a name of its own in each row: to a new row, rarer ones look alike if their targets are equal."""
    rng = np.random.default_rng(0)
    n = 120
    frame = pd.DataFrame({"name": [f"r{i}" for i in range(n)], "kind": rng.choice(list("abcd"), n)})
    y = (frame["kind"].isin(["a", "b"]) ^ (rng.random(n) < 0.1)).astype(int)
    twice, y_twice = pd.concat([frame, frame]), np.concatenate([y, y])
    for rows, target, different in ((frame, y, n), (twice, y_twice, n)):
        found = copies_of(monkeypatch, rows, target)
        assert len(np.unique(found)) == different
        np.testing.assert_array_equal(found[:n], found[-n:])
    assert cr.MLPClassifier(device="cpu", random_state=0).fit(frame, y).oof_score_.metrics["accuracy"] > 0.8


def copies_of(monkeypatch, frame, y) -> np.ndarray:
    """The numbers of copies of the rows of a fit."""
    seen = []
    real = own_targets.hide_own_targets
    monkeypatch.setattr(
        own_targets, "hide_own_targets", lambda *some, **more: seen.append(real(*some, **more)) or seen[-1]
    )
    cr.MLPClassifier(**FEW).fit(frame, y)
    monkeypatch.undo()
    return seen[-1].copies
