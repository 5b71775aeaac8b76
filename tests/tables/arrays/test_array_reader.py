"""Tables of arrays: target by position, number of columns, missing values, the built-in digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import DataError, OptionError
from chainrule.tables.arrays import array_reader
from chainrule.tables.readers import read_table
from tables.arrays.array_files import NAN, X, check_refusal, npy, npz


def test_npy_target_by_position(write):
    path = write(npy(X), "a.npy")
    for target, position in [("0", 0), ("-1", 2), ("1", 1)]:
        table = read_table(path, target=target)
        np.testing.assert_array_equal(table.target, X[:, position])
        np.testing.assert_array_equal(table.features, np.delete(X, position, 1))
        assert table.target_name == ""
    for target, words in [(None, "got none"), ("3", "got '3'"), ("y", "got 'y'")]:
        with pytest.raises(OptionError, match=f"expected a target from 0 to 2, {words}"):
            read_table(path, target=target)
    assert read_table(path, target="y", need_target=False).target is None
    assert read_table(path, target="-1", need_target=False).target is not None
    check_refusal(write(npy(X[:, :1]), "b.npy"), ["no column besides the target"], target="0", need_target=True)


def test_npy_and_npz_with_another_number_of_columns_are_refused(write):
    for name, content in [("a.npy", npy(X)), ("a.npz", npz({"X.npy": npy(X)}))]:
        path = write(content, name)
        assert len(read_table(path, feature_names=["a", "b", "c"], need_target=False)) == 4
        check_refusal(path, ["expected 2 feature columns, got 3"], feature_names=["a", "b"])
    check_refusal(write(npy(X), "a.npy"), ["expected 3 feature columns, got 2"], feature_names=list("abc"), target="-1")


def test_npy_missing_values_make_named_columns(write):
    """nan is a hole, as an empty cell of a text file is; without names the columns are called by their position."""
    for content, name in ((npy(NAN), "a.npy"), (npz({"X.npy": npy(NAN)}), "a.npz"), (npy(NAN.astype(">f2")), "b.npy")):
        table = read_table(write(content, name), need_target=False)
        assert (table.matrix, table.feature_names, len(table), table.width) == (None, ("x0", "x1", "x2"), 4, 3)
        np.testing.assert_array_equal(np.column_stack(list(table.columns.values())), NAN)
        assert {column.dtype for column in table.columns.values()} == {np.dtype(np.float64)}
    table = read_table(write(npy(NAN), "a.npy"), target="0")
    np.testing.assert_array_equal(table.columns["x0"], NAN[:, 1])
    assert read_table(write(npy(NAN), "a.npy"), feature_names=list("abc"), need_target=False).feature_names == (
        "a",
        "b",
        "c",
    )
    with pytest.raises(DataError, match=r"row 2, column 1 \(from 0\): expected a finite number, got nan"):
        read_table(write(npy(NAN), "a.npy"), target="1")
    with pytest.raises(DataError, match="expected a table with the text column 'b', got an array without names"):
        read_table(write(npy(NAN), "a.npy"), feature_names=list("abc"), kinds={"b": "category"}, need_target=False)


def test_npy_missing_values_far_into_the_array(write, monkeypatch, rng):
    monkeypatch.setattr(array_reader, "PART", 7)
    big = rng.normal(size=(50, 3))
    big[40, 2] = np.nan
    assert read_table(write(npy(big), "a.npy"), need_target=False).matrix is None
    big[41, 1] = np.inf
    check_refusal(write(npy(big), "a.npy"), ["row 41, column 1 (from 0): expected", "got inf"])


def test_built_in_digits():
    table = read_table("digits")
    assert (table.features.shape, table.features.dtype, table.source) == ((1797, 64), np.uint8, "digits")
    assert (table.feature_names[0], table.feature_names[-1], table.target_name) == ("pixel0", "pixel63", "digit")
    assert np.bincount(table.target).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert table.features.max() == 16
    np.testing.assert_array_equal(
        read_table("digits", target="digit", feature_names=["pixel9", "pixel2"]).features, table.features[:, [9, 2]]
    )
    assert read_table(Path("digits"), target="price", need_target=False).target is not None
    with pytest.raises(OptionError, match="digits has no target 'y'\nhint: its target is digit"):
        read_table("digits", target="y")
    with pytest.raises(DataError, match="digits lacks 1 of the 2 columns that are needed: 'area'"):
        read_table("digits", feature_names=["pixel1", "area"])
