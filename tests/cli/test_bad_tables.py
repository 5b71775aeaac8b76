"""The bad tables as a user meets them: exit code, one line that says what is wrong, a hint, and never a traceback."""

from __future__ import annotations

import pytest

from chainrule.errors import OptionError
from tables.bad_tables import CASES, Refused
from tables.formats import FORMATS, CannotHoldError
from tables.test_bad_tables import holds, place, position_of

FILES = ("CSV", "CSV with semicolons and decimal commas", "npy", "npz", "Parquet")
TRAIN = ("--device", "cpu", "--epochs", 1, "--hidden", 4, "--seed", 1, "--quiet", "--overwrite", "--run-dir", "m")
LEAST = {"text": 40, "frames": 30, "arrays": 9}  # refusals that a user can meet when training


def arguments(case, name):
    """``train`` for a case; None where only the library asks for such a thing."""
    if set(case.options) - {"drop", "categorical"} or (name == "npy" and case.target is None):
        return None
    target = position_of(case) if name == "npy" else case.target
    named = [] if target is None else ["--target", target]
    more = [word for option, columns in case.options.items() for word in (f"--{option}", ",".join(columns))]
    return [*named, *more, *TRAIN]


@pytest.mark.parametrize("name", FILES)
def test_what_is_refused_is_one_line(run, tmp_path, name):
    form, count = FORMATS[name], 0
    if form.missing:
        pytest.skip(f"{form.missing} is not installed")
    for title, case in CASES.items():
        expected = case.text if form.family == "text" and case.text is not None else case.expected
        if not isinstance(expected, Refused) or not holds(case, form, name):
            continue
        options = arguments(case, name)
        if options is None:
            continue
        try:
            path = form.write(case.data, tmp_path, case.target)
        except CannotHoldError:
            continue
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
    form, trained = FORMATS[name], 0
    for title, case in [*CASES.items()][::2]:  # half of them: each is a training
        expected = case.text if form.family == "text" and case.text is not None else case.expected
        if isinstance(expected, Refused) or not holds(case, form, name):
            continue
        options = arguments(case, name)
        if options is None:
            continue
        try:
            path = form.write(case.data, tmp_path, case.target)
        except CannotHoldError:
            continue
        found = run("train", path, *options, "--valid", 0)
        assert found.code in {0, 3}, (title, found.err)
        if found.code:
            assert found.error, title
            continue
        predicted = run("predict", "m", path, "--device", "cpu", "--output", "p.csv")
        assert predicted.code == 0, (title, predicted.err)
        trained += 1
    assert trained >= {"CSV": 30, "npz": 8}[name], trained
