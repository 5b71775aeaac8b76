"""What a notebook shows of a record: one line with its sizes, never its data."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.columns.column_data import TableColumns
from chainrule.train.diagnosis.findings import Finding, Measurement
from chainrule.verify.explain import Explanation, explain

MEASURED = [Measurement(epoch, layer, 4, 0, None, 1.0, 1e-3) for epoch in range(3) for layer in ("dense0", "dense1")]
COLUMNS = TableColumns(
    {
        "age": np.array([22.0, np.nan, 31.0, 58.0]),
        "deck": cr.Categorical(np.array([0, 1, 2, 1], np.int32), ("a", "b", "c")),
        "sex": cr.Categorical(np.array([0, 1, 0, 1], np.int32), ("f", "m")),
    }
)
ENCODER = cr.TableEncoder.fit(COLUMNS, embed_above=2)
STANDARDIZED = cr.Standardization(np.zeros(4), np.array([1.0, 2.0, math.inf, 1.0]), 3.0)


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (cr.Diagnosis([], MEASURED, [1.0, 0.5, 0.25]), "<Diagnosis of 2 epochs, 2 layers: nothing wrong>"),
        (
            cr.Diagnosis(
                [Finding("dead units", "dense0", 0.5, "..."), Finding("dead units", "dense1", 1, "...")], [], []
            ),
            "<Diagnosis of 0 epochs, 0 layers: 2 findings (dead units)>",
        ),
        (cr.Standardization(np.zeros(40), np.ones(40), 3.0), "<Standardization of 40 columns, limit 3>"),
        (cr.Standardization(np.zeros(1), np.ones(1)), "<Standardization of 1 column>"),
        (STANDARDIZED, "<Standardization of 4 columns, 1 constant, limit 3>"),
        (cr.Preparation(), "<Preparation: features not standardised, no table>"),
        (
            cr.Preparation(STANDARDIZED, classes=("no", "yes")),
            "<Preparation: 4 features standardised (limit 3), 2 classes, no table>",
        ),
        (
            cr.Preparation(targets=STANDARDIZED, encoder=ENCODER),
            "<Preparation: 5 features not standardised, targets standardised, a table of 3 columns>",
        ),
        (ENCODER, "<TableEncoder of 3 columns (1 of numbers, 1 embedded, 1 of categories) to X of 5 columns>"),
        (COLUMNS, "<TableColumns: numbers (1): 'age'; categories (2): 'deck', 'sex'>"),
        (TableColumns({}), "<TableColumns: none>"),
        (
            cr.CrossValidation(({"loss": 0.5, "roc_auc": 0.75}, {"loss": 0.123456}), (3, 4)),
            "<CrossValidation of 2 folds: loss 0.3117 +- 0.2663, roc_auc 0.75>",
        ),
        (cr.CrossValidation((), ()), "<CrossValidation of 0 folds: no metrics>"),
        (cr.Moments(), "<Moments after 0 steps: none>"),
    ],
)
def test_the_repr_of_a_record_is_one_line_of_its_sizes(record, shown):
    assert repr(record) == shown
    assert repr(pickle.loads(pickle.dumps(record))) == shown


def test_the_repr_of_a_table_encoder_counts_the_columns_of_its_matrix():
    assert f"to X of {ENCODER.encode(COLUMNS).shape[1]} columns" in repr(ENCODER)


def test_a_long_table_shows_its_first_column_names():
    columns = TableColumns({f"x{i}": np.zeros(2) for i in range(2_000)})
    assert repr(columns).startswith("<TableColumns: numbers (2,000): 'x0', 'x1'")
    assert len(repr(columns)) < 100


def test_the_repr_of_moments_names_what_an_optimizer_keeps(rng):
    moments, net = cr.Moments(), cr.MLP([2, 3, 2])
    cr.Trainer(net, cr.Adam(), epochs=2, batch_size=4, moments=moments).fit(rng.normal(size=(4, 2)), [0, 1, 0, 1])
    size = moments.arenas["m"].layout.size
    assert repr(moments) == f"<Moments after 2 steps: m of {size} numbers, v of {size} numbers>"


def test_an_explanation_prints_what_the_command_prints(capsys):
    from chainrule.cli.main import main

    assert main(["explain", "--layers", "4,5,5,3", "--residual", "--normalization", "layer", "--batch", "7"]) == 0
    net = [4, 5, 5, 3]
    found = explain(net, batch=7, activation="relu", normalization="layer", residual=True, loss="squared_error")
    assert f"{found}\n" == capsys.readouterr().out
    assert repr(found) == f"<Explanation of {len(found.lines)} lines: all right>"


def test_an_explanation_says_which_lines_are_wrong():
    right = explain([2, 2], loss="squared_error")
    wrong = Explanation([line._replace(error=1.0 if line.name == "dW0" else 0.0) for line in right.lines], right.rule)
    assert repr(wrong) == f"<Explanation of {len(wrong.lines)} lines: 1 wrong ('dW0')>"
    assert [line for line in str(wrong).splitlines() if "dW0" in line and "WRONG" in line]


def test_an_estimators_net_shows_the_loss_by_scikit_learns_name(rng):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    X, y = rng.normal(size=(20, 3)), np.arange(20) % 2
    classifier = cr.MLPClassifier(hidden_layer_sizes=(4,), solver="adam", max_iter=1, random_state=0)
    regressor = cr.MLPRegressor(hidden_layer_sizes=(4,), solver="adam", max_iter=1, random_state=0)
    nets = [model.fit(X, y).network_ for model in (classifier, regressor)]
    assert repr(nets[0]).startswith("<MLP 3 -> 4 -> 1, relu, log_loss, 21 parameters")
    assert repr(nets[1]).startswith("<MLP 3 -> 4 -> 1, relu, squared_error, 21 parameters")
    assert [repr(net.loss) for net in nets] == ["BinaryLogLoss()", "HalfSquaredError()"]
