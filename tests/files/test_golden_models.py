"""Model files of every format version there ever was open, and predict what they predicted when they were written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors

import chainrule as cr
from chainrule.cli.main import main
from chainrule.files import model_file
from comparisons import assert_within

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(GOLDEN.glob("*.safetensors"))
RELATIVE = {"float32": 1e-5, "float64": 1e-12}  # of another BLAS; the bits are this machine's


def version_of(path: Path) -> int:
    with safetensors.safe_open(path, framework="np") as file:
        return json.loads(file.metadata()[model_file.FORMAT.key])["version"]


def test_golden_model_files_of_every_version_exist():
    assert {version_of(path) for path in FILES} == set(range(1, model_file.FORMAT.version + 1))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden_model_files_predict_the_stored_numbers(path, tmp_path, capsys):
    net, found = cr.load(path, device="cpu"), json.loads(path.with_suffix(".json").read_text())
    assert main(["show", str(path)]) == 0
    assert net.loss_name in capsys.readouterr().out
    net.save(tmp_path / "again")
    for opened in (net, cr.load(tmp_path / "again", device="cpu")):
        for method, expected in found.items():
            if not method.startswith("predict"):
                continue
            if "csv" in found:
                (tmp_path / "rows.csv").write_text(found["csv"])
                got = opened.predict_table(cr.read_table(tmp_path / "rows.csv", like=opened))
            else:
                got = getattr(opened, method)(np.array(found["rows"]))
            want = np.array(expected)
            if got.dtype.kind == "f":
                assert_within(got, want, RELATIVE[str(opened.dtype)] * np.maximum(abs(want), 1), method)
            else:
                assert got.tolist() == expected
