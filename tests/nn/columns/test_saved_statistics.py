"""Statistics of the target in a model file: kept to the bit, and refused if they are those of another encoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors

import chainrule as cr
from chainrule.errors import ModelFileError
from chainrule.files import model_file
from chainrule.nn.columns.column_data import Categorical
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.columns.target_columns import TargetColumns

NAMES = tuple("abcdefgh")


@pytest.fixture
def net(rng):
    table = {
        "size": rng.normal(size=60),
        "city": Categorical(rng.integers(-1, 8, 60).astype(np.int32), NAMES),
        "firm": Categorical(rng.integers(0, 8, 60).astype(np.int32), NAMES),
    }
    target = TargetColumns.of_classes(rng.integers(0, 3, 60), ("x", "y", "z"))
    encoder = TableEncoder.fit(table, target=target, max_categories=3)
    net = cr.MLP([len(encoder.names), 3, 3])
    net.preparation = cr.Preparation(encoder=encoder)
    return net


def test_a_model_file_keeps_target_statistics(net, tmp_path):
    net.save(tmp_path / "m")
    read = cr.load(tmp_path / "m", device="cpu")
    assert read.preparation == net.preparation
    assert read.preparation.encoder.columns[2].statistics == net.preparation.encoder.columns[2].statistics
    read.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()
    with safetensors.safe_open(tmp_path / "m", framework="np") as file:
        assert json.loads(file.metadata()[model_file.FORMAT.key])["version"] == 6
        assert {"columns.1.means", "columns.2.counts", "columns.2.mu"} <= set(file.keys())


WRONG = {
    "no categories": {"labels": ["x"]},
    "categories are text": {"categories": "defgh", "labels": ["x", "y", "z"]},
    "a category twice": {"categories": ["d", "d", "f", "g", "h"], "labels": ["x", "y", "z"]},
    "a category fewer": {"categories": ["d", "e", "f", "g"], "labels": ["x", "y", "z"]},
    "a label fewer": {"labels": ["x", "y"]},
    "labels are numbers": {"labels": [1, 2, 3]},
    "another field": {"prior": 10},
    "none": None,
    "a list": [],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_model_file_with_other_target_statistics_is_refused(net, tmp_path, wrong):
    net.save(tmp_path / "m")
    description, tensors = model_file.read(tmp_path / "m")
    column = description["columns"][1]
    own = column["statistics"]
    if wrong == WRONG["no categories"]:
        wrong = {"labels": own["labels"]}
    elif isinstance(wrong, dict):
        wrong = own | wrong
    described = [description["columns"][0], column | {"statistics": wrong}, description["columns"][2]]
    model_file.write(tmp_path / "bad", description | {"columns": described}, tensors)
    with pytest.raises(ModelFileError) as caught:
        cr.load(tmp_path / "bad", device="cpu")
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("number", [0, 1])
def test_a_model_file_whose_target_statistics_are_of_another_kind_of_column_or_have_no_arrays_is_refused(
    net, tmp_path, number
):
    net.save(tmp_path / "m")
    description, tensors = model_file.read(tmp_path / "m")
    columns = [dict(column) for column in description["columns"]]
    columns[0]["statistics"] = columns[1].pop("statistics")
    other = {name.replace("columns.1", "columns.0"): array for name, array in tensors.items()}
    model_file.write(tmp_path / "bad", description | {"columns": columns}, other if number == 0 else tensors)
    with pytest.raises(ModelFileError):
        cr.load(tmp_path / "bad", device="cpu")


def test_counts_below_0_in_a_model_file_are_refused(net, tmp_path):
    net.save(tmp_path / "m")
    description, tensors = model_file.read(tmp_path / "m")
    model_file.write(tmp_path / "bad", description, tensors | {"columns.1.counts": -tensors["columns.1.counts"]})
    with pytest.raises(ModelFileError, match="counts from 0 up"):
        cr.load(tmp_path / "bad", device="cpu")
