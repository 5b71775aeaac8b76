"""The Table that readers return: its repr, and its features as one matrix."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import DataError
from chainrule.tables.readers import read_table

CSV = "rooms,kind,area,price\n1,house,50,100.5\n2,,60,200\n,flat,NA,300.25\n4,house,80,4\n"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "houses.csv").write_text(CSV)
    return tmp_path / "houses.csv"


def test_the_repr_lists_columns_by_kind_holes_and_the_target(path):
    assert repr(read_table(path, target="price")).replace(str(path), "houses.csv") == (
        "<Table houses.csv: 4 rows, 3 columns of features\n"
        "  numbers (2): 'rooms', 'area'\n"
        "  categories (1): 'kind' (2)\n"
        "  holes (3): 'rooms' (1), 'kind' (1), 'area' (1)\n"
        "  target 'price': float64, 4 to 300.25>"
    )


def test_the_repr_of_classes_and_of_many_columns(tmp_path):
    names = ",".join(f"c{i}" for i in range(10))
    (tmp_path / "t.csv").write_text(f"{names},y\n{'1,' * 10}b\n{'2,' * 10}a\n")
    said = repr(read_table(tmp_path / "t.csv", target="y"))
    assert (
        "  numbers (10): 'c0', 'c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7', ...\n  target 'y': 2 classes: 'a', 'b'>"
        in said
    )
    assert "target" not in repr(read_table(tmp_path / "t.csv", need_target=False, drop=["y"]))


def test_the_repr_of_a_matrix(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.float32))
    assert repr(read_table(tmp_path / "x.npy", need_target=False)).endswith(
        "x.npy: 3 rows, 2 columns of features\n  matrix of float32>"
    )
    assert "  matrix of uint8: 'pixel0', " in repr(read_table("digits"))


def test_the_repr_spells_out_control_characters(tmp_path):
    (tmp_path / "t.csv").write_text("a\x1b[31m,y\n1,2\n")
    assert "\x1b" not in repr(read_table(tmp_path / "t.csv", target="y"))


@pytest.mark.parametrize(("name", "message"), [("kind", "got text"), ("rooms", r"row 2 \(from 0\) .* got a hole")])
def test_text_and_holes_are_not_in_a_matrix_of_features(path, name, message):
    table = read_table(path, feature_names=[name], need_target=False)
    with pytest.raises(DataError, match=message) as caught:
        table.features  # noqa: B018 - the property is the test
    assert "hint: " in str(caught.value)
