"""What is learnt from a target, and how it is coded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chainrule.errors import DataError, OptionError
from chainrule.nn.losses.names import LOSSES, find_loss
from chainrule.tables.targets import encode_target, plan_target

TEXT = np.array(["dog", "cat", "dog", "Zebra", "ant"])
SOFTMAX, SIGMOID, SQUARED = "softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"

PLANS = {
    # target, loss, task, y, classes, n_out
    "text": (TEXT, None, "classify", [3, 2, 3, 0, 1], ("Zebra", "ant", "cat", "dog"), 4),
    "integers sort as numbers": (np.array([10, 9, 100]), None, "classify", [1, 0, 2], ("9", "10", "100"), 3),
    "negative": (np.array([1, -1, 1]), None, "classify", [1, 0, 1], ("-1", "1"), 2),
    "bool": (np.array([True, False]), None, "classify", [1, 0], ("False", "True"), 2),
    "small unsigned": (np.array([3, 7, 3], np.uint8), None, "classify", [0, 1, 0], ("3", "7"), 2),
    "whole floats": (np.array([2.0, 0.0, 2.0]), None, "classify", [1, 0, 1], ("0", "2"), 2),
    "one column": (np.array([[1], [0]]), None, "classify", [1, 0], ("0", "1"), 2),
    "20 classes, 100 rows": (np.arange(100) % 20, None, "classify", np.arange(100) % 20, None, 20),
    "21 values": (np.arange(2100) % 21, None, "regress", np.arange(2100) % 21, (), 1),
    "21 values, few rows": (np.arange(21), None, "regress", np.arange(21), (), 1),
    "20 classes, 99 rows": (np.arange(99) % 20, None, "classify", np.arange(99) % 20, None, 20),
    "floats": (np.array([0.5, 1, 2]), None, "regress", [0.5, 1, 2], (), 1),
    "columns of floats": (np.array([[0.0, 1], [1, 1]]), None, "regress", [[0, 1], [1, 1]], (), 2),
    "columns of 0 and 1": (np.array([[0, 1], [1, 1]]), None, "multilabel", [[0, 1], [1, 1]], (), 2),
    "columns of bool": (np.array([[True, False]] * 3), None, "multilabel", [[1, 0]] * 3, (), 2),
    "columns of integers": (np.array([[0, 2], [1, 1]]), None, "regress", [[0, 2], [1, 1]], (), 2),
    "classes by loss": (np.array([0.1, 0.5, 2.0], np.float32), SOFTMAX, "classify", [0, 1, 2], ("0.1", "0.5", "2"), 3),
    "numbers by loss": (np.array([0, 1, 1]), SQUARED, "regress", [0, 1, 1], (), 1),
    "numbers by the sum": (np.array([0, 1, 1]), "squared_error_sum", "regress", [0, 1, 1], (), 1),
    "yes or no": (np.array([0, 1, 1]), SIGMOID, "multilabel", [0, 1, 1], (), 1),
    "shares": (np.array([[0.2, 1], [0.5, 0]]), SIGMOID, "multilabel", [[0.2, 1], [0.5, 0]], (), 2),
    "two words": (np.array(["yes", "no"]), SIGMOID, "multilabel", [1, 0], ("no", "yes"), 1),
}  # fmt: skip


@pytest.mark.parametrize(("target", "loss", "task", "y", "classes", "n_out"), PLANS.values(), ids=PLANS.keys())
def test_plan_target(target, loss, task, y, classes, n_out):
    plan = plan_target(target, loss=loss)
    assert (plan.task, plan.n_out) == (task, n_out)
    assert classes is None or plan.classes == classes
    assert plan.y.dtype == (np.int64 if task == "classify" else np.float64)
    np.testing.assert_array_equal(plan.y, y)
    name = loss or {"classify": SOFTMAX, "multilabel": SIGMOID, "regress": SQUARED}[task]
    find_loss(name, plan.n_out).check_targets(plan.y)  # what a plan hands on, the loss takes
    np.testing.assert_array_equal(encode_target(target, task, plan.classes), plan.y)


BAD = {
    "one class": (np.array(["a", "a"]), None, ["expected at least two classes, got 'a' in every row"]),
    "one number": (np.array([7.0, 7.0]), None, ["got '7' in every row"]),
    "one row": (np.array([7]), SOFTMAX, ["expected at least two classes"]),
    "classes in columns": (
        np.array([[0, 1], [1, 0]]),
        SOFTMAX,
        ["got one of shape (2, 2)", "hint: several labels per row"],
    ),
    "text as numbers": (TEXT, SQUARED, ["expected numbers in the target, got text: 'dog', ..."]),
    "three words": (TEXT, SIGMOID, ["expected two classes, got 4: 'Zebra', 'ant'", "hint: more than two"]),
    "one word": (np.array(["a", "a"]), SIGMOID, ["'a' in every row"]),
    "over 1": (np.array([0, 1, 2]), SIGMOID, ["row 2 (from 0) of the target: expected a number from 0 to 1", "got 2"]),
    "below 0": (
        np.array([[0, 1], [0.5, -0.5]]),
        SIGMOID,
        ["row 1, column 1 (from 0) of the target: expected", "got -0.5"],
    ),
    "nan": (np.array([0, np.nan]), None, ["row 1 (from 0) of the target: expected a finite number", "got nan"]),
    "inf": (np.array([[0, 1], [np.inf, 1]]), SQUARED, ["row 1, column 0 (from 0) of the target: expected", "got inf"]),
    "no rows": (np.array([]), None, ["got shape (0,) and dtype float64"]),
    "objects": (np.array([None, 1]), None, ["dtype object"]),
    "three axes": (np.zeros((2, 2, 2)), None, ["shape (2, 2, 2)"]),
}


@pytest.mark.parametrize(("target", "loss", "parts"), BAD.values(), ids=BAD.keys())
def test_plan_target_refuses(target, loss, parts):
    with pytest.raises(DataError) as caught:
        plan_target(target, loss=loss, source="t.csv")
    assert "\n" not in caught.value.message
    for part in ["t.csv: ", *parts]:
        assert part in str(caught.value), str(caught.value)


def test_plan_target_of_an_unknown_loss():
    with pytest.raises(OptionError, match=r"loss: expected one of softmax.*, got 'hinge'") as caught:
        plan_target(TEXT, loss="hinge")
    assert all(name in caught.value.message for name in LOSSES)


def test_classes_match_by_name_in_any_dtype():
    classes = plan_target(np.array([3.0, 10.0, 3.0])).classes
    for target in (np.array([10, 3]), np.array([10, 3], np.int8), np.array([10.0, 3.0]), np.array(["10", "3"])):
        assert encode_target(target, "classify", classes).tolist() == [1, 0]


def test_classes_that_do_not_occur_keep_their_codes():
    assert encode_target(np.array(["dog", "dog"]), "classify", ("ant", "cat", "dog")).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("target", "task", "classes", "parts"),
    [
        (
            np.array(["cat", "cow"]),
            "classify",
            ("cat", "dog"),
            ["row 1 (from 0) of the target: expected", "got 'cow'", "'cat', 'dog'"],
        ),
        (
            np.array([1, 2, 1.5]),
            "classify",
            ("1", "2"),
            ["row 2 (from 0) of the target: expected", "got '1.5'", "'1', '2'"],
        ),
        (
            np.array(["no", "maybe"]),
            "multilabel",
            ("no", "yes"),
            ["row 1 (from 0) of the target: expected", "got 'maybe'"],
        ),
        (np.array([[1, 2]]), "classify", ("1", "2"), ["expected", "(1, 2)"]),
        (np.array(["a"]), "classify", (), ["expected codes 0, 1, ..., got text: 'a', ..."]),
        (np.array([0, -1]), "classify", (), ["row 1 (from 0) of the target: expected a code", "got -1"]),
        (np.array([0.5, 1]), "classify", (), ["row 0 (from 0) of the target: expected a code", "got 0.5"]),
        (np.array(["a"]), "regress", (), ["expected numbers in the target, got text: 'a', ..."]),
        (np.array([2]), "multilabel", (), ["row 0 (from 0) of the target: expected a number from 0 to 1", "got 2"]),
    ],
)
def test_encode_target_refuses(target, task, classes, parts):
    with pytest.raises(DataError) as caught:
        encode_target(target, task, classes, source="new.csv")
    for part in ["new.csv: ", *parts]:
        assert part in str(caught.value), str(caught.value)


def test_targets_without_class_names_stay_codes():
    y = encode_target(np.array([2.0, 0.0]), "classify", ())
    assert (y.dtype, y.tolist()) == (np.int64, [2, 0])


@given(
    target=hnp.arrays(
        st.sampled_from([np.int64, np.uint8, np.float32, np.float64]), st.integers(2, 30), elements=st.integers(0, 200)
    )
)
def test_codes_name_their_values(target):
    if len(np.unique(target)) > 1:
        plan = plan_target(target, loss=SOFTMAX)
        assert [float(plan.classes[code]) for code in plan.y] == target.tolist()
        assert list(plan.classes) == sorted(plan.classes, key=float)


@pytest.mark.parametrize(
    ("text", "hint"), [("{} foo", "write quantities as numbers"), ("remark", "name another --target")]
)
def test_text_that_differs_in_nearly_every_row_is_no_target(text, hint):
    letters = [f"{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(60)]
    texts = [text.format(i) if "{" in text else f"{text} {letters[i]}" for i in range(60)]
    with pytest.raises(DataError, match="differs in nearly every row, 60 texts in 60 rows") as caught:
        plan_target(np.array(texts, object), source="t.csv")
    assert caught.value.hint.startswith(hint)
    assert plan_target(np.array(texts, object), loss=SOFTMAX).task == "classify"  # who asks for it gets it
    assert len(plan_target(np.array(texts[:20], object)).classes) == 20  # few rows may have a class each
    assert len(plan_target(np.array([*texts, *texts[:7]], object)).classes) == 60
