"""What the tests of the commands share: running one, small tables, and a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from chainrule.cli.main import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def error(self) -> str:
        """The one line that begins with ``error:``; fails if there is not exactly one."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return line.removeprefix("error: ")


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """``run("train", "digits", ...)`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHAINRULE_DEVICE", raising=False)

    def call(*argv: object) -> Outcome:
        code = main([str(a) for a in argv])
        return Outcome(code, *capsys.readouterr())

    return call


def write_csv(path: Path, header: str, rows: np.ndarray, target: list[object]) -> Path:
    lines = [header, *(",".join([*map(repr, row.tolist()), str(t)]) for row, t in zip(rows, target, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def flowers(tmp_path) -> Path:
    """120 rows, two features, three classes with names; separable."""
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 120)
    X = rng.normal(size=(120, 2)) * 0.3 + np.array([[0, 2], [2, 0], [-2, -2]])[kind]
    return write_csv(tmp_path / "flowers.csv", "height,width,kind", X, [("rose", "tulip", "aster")[k] for k in kind])


@pytest.fixture
def houses(tmp_path) -> Path:
    """200 rows, three features, a price in the hundred thousands."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(200, 3))
    price = 250_000 + 40_000 * X[:, 0] - 25_000 * X[:, 1] + rng.normal(size=200) * 1000
    return write_csv(tmp_path / "houses.csv", "rooms,age,distance,price", X, [round(float(p), 2) for p in price])
