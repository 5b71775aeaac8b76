"""``train`` and ``cv`` say whether they classify or regress, why, and how to have it otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

WHOLE = [i % 6 for i in range(60)]
TARGETS = {
    "whole numbers": (WHOLE, "classify: 6 different whole numbers in 'y'; --task regress for numbers"),
    "many whole numbers": (
        range(60),
        "regress: 60 different whole numbers (more than 20) in 'y'; --task classify for classes",
    ),
    "text": ([("a", "b")[i % 2] for i in range(60)], "classify: text in 'y'"),
    "decimals": ([i / 7 for i in range(60)], "regress: numbers with decimals in 'y'; --task classify for classes"),
}
FAST = ("--epochs", 1, "--members", 1, "--hidden", "4", "--device", "cpu")


def write(target: object) -> str:
    assert isinstance(target, list | range)
    Path("t.csv").write_text("x,y\n" + "".join(f"{i * i % 17},{y}\n" for i, y in enumerate(target)))
    return "t.csv"


def task_lines(err: str) -> Iterator[str]:
    return (line.removeprefix("task").strip() for line in err.splitlines() if line.startswith("task "))


@pytest.mark.parametrize(("target", "said"), TARGETS.values(), ids=TARGETS.keys())
def test_train_says_the_task_once_with_its_reason(run, target, said):
    assert list(task_lines(run("train", write(target), "--target", "y", *FAST).err)) == [said]


def test_cv_says_the_task_once_with_its_reason(run):
    found = run("cv", write(WHOLE), "--target", "y", "--folds", 2, *FAST)
    assert list(task_lines(found.err)) == [TARGETS["whole numbers"][1]]


@pytest.mark.parametrize("command", ["train", "cv"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--task", "regress"), "regress, as --task says"),
        (("--task", "classify"), "classify, as --task says"),
        (("--loss", "poisson"), "regress, as --loss says"),
        (("--task", "regress", "--loss", "poisson"), "regress, as --task says"),
    ],
)
def test_a_task_that_was_asked_for_has_no_advice(run, command, options, said):
    found = run(command, write(WHOLE), "--target", "y", *FAST, *options)
    assert list(task_lines(found.err)) == [said]


def test_the_option_that_is_named_changes_the_task(run):
    found = run("train", write(WHOLE), "--target", "y", *FAST, "--task", "regress", "--json")
    assert found.json["task"] == "regress"
    assert "task" not in run("train", write(WHOLE), "--target", "y", *FAST, "--quiet").err


def test_the_built_in_digits(run):
    found = run("train", "digits", *FAST)
    assert list(task_lines(found.err)) == [
        "classify: 10 different whole numbers in 'digit'; --task regress for numbers"
    ]


def test_a_target_without_a_name(run):
    np.save("t.npy", np.column_stack([np.arange(60.0), WHOLE]))
    found = run("train", "t.npy", "--target", 1, *FAST)
    (said,) = task_lines(found.err)
    assert said == "classify: 6 different whole numbers in the target; --task regress for numbers"
