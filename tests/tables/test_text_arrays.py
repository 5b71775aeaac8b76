"""Labels that are text, in arrays whose rows share it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from chainrule.errors import DataError
from chainrule.estimators.labels import exact_targets
from chainrule.tables.splitting.splits import hold_out, make_folds
from chainrule.tables.targets import encode_target, plan_target
from chainrule.tables.text_arrays import is_text, take_texts, unique_with_codes

TEXTS = np.array(["b", "a", "é", "", "b", "a b", "aa", "B"])


@pytest.mark.parametrize("labels", [TEXTS, TEXTS.astype(object), TEXTS.astype(np.dtypes.StringDType())])
def test_unique_with_codes_equals_numpy_unique(labels):
    want, positions = np.unique(TEXTS, return_inverse=True)
    different, codes = unique_with_codes(labels)
    assert different.tolist() == want.tolist()
    assert (codes.tolist(), codes.dtype) == (positions.tolist(), np.int64)
    assert is_text(labels)


def test_equal_rows_share_one_text_object():
    spread = take_texts(["a", "b" * 1000], np.array([1, 0, 1, 1]))
    assert (spread.dtype, spread.nbytes) == (object, 4 * 8)
    assert spread[0] is spread[2]


@pytest.mark.parametrize(
    "labels", [np.array([1, 2]), np.array(["a", 1], object), np.array([], object), np.array([b"a"])]
)
def test_is_text_of_mixed_arrays(labels):
    assert not is_text(labels)


@pytest.mark.parametrize("kind", [str, object, np.dtypes.StringDType()])
def test_text_targets_in_every_numpy_representation(kind):
    target = np.array(["dear", "cheap", "dear", "fair"] * 3).astype(kind)
    plan = plan_target(target)
    assert (plan.classes, plan.task) == (("cheap", "dear", "fair"), "classify")
    assert plan.y[:4].tolist() == [1, 0, 1, 2]
    assert encode_target(target[:2], "classify", plan.classes).tolist() == [1, 0]
    with pytest.raises(DataError, match=r"row 0 \(from 0\) of the target: expected one of the classes.*, got 'dear'"):
        encode_target(target, "classify", ("a", "b"))
    splits = [hold_out(12, 0.25, classes=target), *make_folds(12, 3, groups=target)]
    plain = np.array(target.tolist())
    wanted = [hold_out(12, 0.25, classes=plain), *make_folds(12, 3, groups=plain)]
    for split, want in zip(splits, wanted, strict=True):
        np.testing.assert_array_equal(split.held_out, want.held_out)


def test_object_arrays_that_are_not_all_text_are_no_target():
    with pytest.raises(DataError, match=r"expected a target of numbers.*, got .*dtype object"):
        plan_target(np.array(["a", 1, "b"], object))


def test_a_list_with_a_long_label_becomes_objects():
    """NumPy would give each of the rows the width of the longest."""
    long = exact_targets(["a"] * 100 + ["b" * 201])
    assert (long.dtype, long.nbytes) == (object, 808)
    assert exact_targets(["a"] * 100 + ["b" * 200]).dtype == "<U200"
