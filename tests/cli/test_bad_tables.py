"""The bad tables as a user meets them: exit code, one line that says what is wrong, a hint, and never a traceback."""

from __future__ import annotations

import contextlib
from itertools import islice

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import OptionError
from tables.bad_tables import CASES, Refused
from tables.formats import FORMATS, CannotHoldError
from tables.text.test_bad_text_tables import holds, place, position_of

FILES = ("CSV", "CSV with semicolons and decimal commas", "npy", "npz", "Parquet")
TRAIN = ("--device", "cpu", "--epochs", 1, "--hidden", 4, "--seed", 1, "--quiet", "--overwrite", "--run-dir", "m")
LEAST = {"text": 40, "frames": 30, "arrays": 9}  # refusals that a user can meet when training


def arguments(case, name):
    """``train`` for a case; None if only the library asks for such a thing."""
    if set(case.options) - {"drop", "categorical"} or (name == "npy" and case.target is None):
        return None
    target = position_of(case) if name == "npy" else case.target
    named = [] if target is None else ["--target", target]
    more = [word for option, columns in case.options.items() for word in (f"--{option}", ",".join(columns))]
    return [*named, *more, *TRAIN]


def tables(name, folder, *, refused):
    """Title, case, what is expected of it, the file, and the arguments of ``train``."""
    form = FORMATS[name]
    for title, case in CASES.items():
        expected = case.text if form.family == "text" and case.text is not None else case.expected
        if isinstance(expected, Refused) != refused or not holds(case, form, name):
            continue
        options = arguments(case, name)
        if options is None:
            continue
        with contextlib.suppress(CannotHoldError):
            yield title, case, expected, form.write(case.data, folder, case.target), options


@pytest.mark.parametrize("name", FILES)
def test_what_is_refused_is_one_line(run, tmp_path, name):
    form, count = FORMATS[name], 0
    if form.missing:
        pytest.skip(f"{form.missing} is not installed")
    for title, case, expected, path, options in tables(name, tmp_path, refused=True):
        found = run("train", path, *options)
        count += 1
        assert found.code == (2 if expected.kind is OptionError else 3), (title, found)
        assert found.out == "", title
        assert expected.row is None or place(expected, case, form, name) in found.error, (title, found.error)
        assert {line.split(":")[0] for line in found.err.splitlines()} <= {"error", "hint"}, (title, found.err)
        assert not (tmp_path / "m").exists(), title
    assert count >= LEAST[form.family], count


@pytest.mark.parametrize("name", ["CSV", "npz"])
def test_what_is_read_is_trained_on_and_predicted_or_refused(run, tmp_path, name):
    """A table may be read and yet be nothing to learn from, one row or one class: that too is one line."""
    trained = 0
    for title, _, _, path, options in islice(tables(name, tmp_path, refused=False), 0, None, 2 if name == "CSV" else 1):
        found = run("train", path, *options, "--valid", 0)
        assert found.code in {0, 3}, (title, found.err)
        if found.code:
            assert found.error, title
            continue
        predicted = run("predict", "m", path, "--device", "cpu", "--output", "p.csv")
        assert predicted.code == 0, (title, predicted.err)
        trained += 1
    assert trained >= {"CSV": 30, "npz": 16}[name], trained


def write_all(folder, X, y):
    """The same rows as text, as a matrix whose last column is the target, and as two arrays."""
    text = [",".join("" if np.isnan(v) else repr(v) for v in row) for row in np.column_stack([X, y]).tolist()]
    (folder / "t.csv").write_text("\n".join(["a,b,c,y", *text]) + "\n")
    np.save(folder / "t.npy", np.column_stack([X, y]))
    np.savez(folder / "t.npz", X=X, y=y)
    return {"t.csv": "y", "t.npy": "-1", "t.npz": "y"}


@pytest.mark.parametrize("holes", [False, True])
def test_the_same_rows_make_the_same_model_from_every_format(run, tmp_path, rng, holes):
    X = rng.normal(size=(90, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.25
    if holes:
        X[rng.integers(0, 90, 12), rng.integers(0, 3, 12)] = np.nan
    options, answers = ("--device", "cpu", "--epochs", 3, "--hidden", 8, "--seed", 4, "--quiet"), []
    for name, target in write_all(tmp_path, X, y).items():
        found = run("train", name, "--target", target, *options, "--run-dir", name[2:])
        assert found.code == 0, found.err
        for other, position in (("t.csv", "y"), ("t.npy", "-1"), ("t.npz", "y")):
            if (other == "t.csv") != (name == "t.csv") and other == "t.csv":
                continue  # an array has no names, by which a text file's columns could be found
            said = run("predict", name[2:], other, "--target", position, "--device", "cpu")
            assert said.code == 0, (name, other, said.err)
            answers.append(said.out.split("\n", 1)[1])  # without the target's name
            scores = run("evaluate", name[2:], other, "--target", position, "--device", "cpu")
            assert scores.code == 0, (name, other, scores.err)
    assert len(set(answers)) == 1
    net = cr.load("npy/model.safetensors", device="cpu")
    assert net.preparation.feature_names[:2] == (("x0", "x0 is missing") if holes else ())


def test_holes_that_only_the_new_rows_have(run, tmp_path, rng):
    """What was trained on a full matrix knows no median: the place is named."""
    X = rng.normal(size=(40, 3))
    np.savez("full.npz", X=X, y=X[:, 0])
    X[7, 1] = np.nan
    np.savez("holes.npz", X=X, y=X[:, 0])
    options = ("--device", "cpu", "--epochs", 1, "--quiet", "--overwrite", "--run-dir", "m")
    assert run("train", "full.npz", *options).code == 0
    found = run("predict", "m", "holes.npz", "--device", "cpu")
    assert (found.code, "row 7 (from 0) of column 'x1' is missing" in found.error) == (3, True)
    assert run("train", "full.npz", "--valid", "holes.npz", *options).code == 3
    found = run("train", "holes.npz", "--valid", "full.npz", *options)
    assert found.code == 0, found.err
    assert run("predict", "m", "full.npz", "--device", "cpu").code == 0
