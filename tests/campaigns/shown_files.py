"""What the commands print of files that someone made to do harm: never a traceback, never a control character.

Names in the files are escapes for a terminal, ends of lines, and characters that turn a line round; files are damaged;
the files of a run directory say something else, or are links that lead out of it. What lies outside stays as it was.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import shutil
import tracemalloc
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from campaigns.damage import damage_bytes, damage_description, damaged
from campaigns.tally import Tally
from chainrule.cli.main import main
from chainrule.files import model_file, sealed_file
from chainrule.train.checkpoints import checkpoint
from chainrule.train.checkpoints.writer import CheckpointWriter

TITLE = "commands on hostile files"
CASES = 6_000

WORDS = (
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\u202egnp.exe",
    "\u2066a\u2069",
    "\x7f",
    "a\rb",
    "a\nerror: no",
    "\u2028",
    "\u200b",
    "\x00",
    "\x85",
    "\ufeffx",
    "\u061c",
    "\U000e0041",
    "b" * 5000,
)
BUG, USAGE, DATA, MEMORY, DISK, DIVERGED = 1, 2, 3, 4, 5, 6
ALLOWED = {0, USAGE, DATA, MEMORY, DISK, DIVERGED}
# Bytes that a command may take: what it makes of rows.csv and of itself, and so much for each byte of the run.
MEMORY, MEMORY_A_BYTE = 16 << 20, 32
# A traceback, a bug, and what a terminal, a log or a reader would obey.
CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}


class Terminal(io.StringIO):
    """Somebody reads it."""

    def isatty(self) -> bool:
        return True


class Whole(NamedTuple):
    """What cases are made of: files of a run that was cut off in the middle, and all that its names come from."""

    folder: Path  # has rows.csv, numbers.csv, run/, outside/

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def last(self) -> Path:
        return self.run / "checkpoints" / "last.safetensors"


def prepare(folder: Path) -> Whole:
    """Train on a table of nothing but nasty names, and keep the first checkpoint as the last."""
    whole = Whole(folder)
    rng = random.Random(0)
    names = [f"{word} {i}" for i, word in enumerate(WORDS[:8])]
    rows = [[*(rng.choice(WORDS[:10]) + "!" for _ in range(3)), *(rng.random() for _ in range(5))] for _ in range(60)]
    labels = [f"{WORDS[i % 3]}." for i in range(60)]
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow([*names, "\x1b[5mtarget"])
        writer.writerows([*row, label] for row, label in zip(rows, labels, strict=True))
    (folder / "outside").mkdir()
    (folder / "outside" / "precious").write_text("precious")
    write = CheckpointWriter.write

    def keep_first(self: CheckpointWriter, *args: Any) -> None:
        write(self, *args)
        if not (folder / "first").exists():
            shutil.copy(whole.last, folder / "first")

    with mock.patch.object(CheckpointWriter, "write", keep_first):
        code, said, _ = call(
            [
                "train",
                "rows.csv",
                "--target",
                "\x1b[5mtarget",
                "--device",
                "cpu",
                "--hidden",
                "3",
                "--epochs",
                "3",
                "--checkpoint-every",
                "2",
                "--batch-size",
                "16",
                "--embed-above",
                "5",
                "--valid",
                "rows.csv",
                "--run-dir",
                "run",
            ]
        )
    assert code == 0, said
    shutil.move(folder / "first", whole.last)
    record = json.loads((whole.run / "run.json").read_text())
    (whole.run / "run.json").write_text(json.dumps(record | {"status": "running"}))
    return whole


def call(argv: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that a terminal shows."""
    out, err = Terminal(), io.StringIO()  # on a terminal stderr has a bar with escapes of its own
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv)
    return code, out.getvalue(), err.getvalue()


# ---- what is done to the files --------------------------------------------------------------------


def harm_model(rng: random.Random, at: Path, _: Whole) -> None:
    """A model file or a checkpoint, damaged, or with other names in it."""
    path, kind = (at / "model.safetensors", model_file.FORMAT)
    if rng.random() < 0.4:
        path, kind = (at / "checkpoints" / "last.safetensors", checkpoint.FORMAT)
    content = sealed_file.read(path, kind)
    version = content.version

    def rename(rng: random.Random, description: dict[str, Any], _: Any) -> None:
        text = json.dumps(description)
        for name in rng.sample(WORDS, 3):
            old = rng.choice(["target", "red", "valid_loss", "softmax_cross_entropy", "float32", "cpu", "relu"])
            text = text.replace(old, json.dumps(name)[1:-1])
        description |= json.loads(text)

    path.write_bytes(damaged(rng, kind, content, version_of=lambda _: version, harm=rename))


def harm_record(rng: random.Random, at: Path, _: Whole) -> None:
    """run.json: other values, or other bytes."""
    path = at / "run.json"
    if rng.random() < 0.3:
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
        return
    record = json.loads(path.read_text())
    damage_description(rng, record)
    for key in rng.sample(["status", "error", "device", "data", "valid_data", "seed", "resumed", "versions"], 2):
        record[key] = rng.choice([*WORDS, [*WORDS], {w: w for w in WORDS}, {"sha256": [1]}, {}, None, 10**4000])
    with contextlib.suppress(RecursionError):
        path.write_text(json.dumps(record))


TOML = [
    *(json.dumps(word) for word in WORDS), "nan", "inf", "-1", "0", "1", "1e400", "9" * 4000, "9" * 19, "true", "{}",
    "{ a = 1 }", "[]", "[1, 2]", "[[1]]", "[" * 300 + "]" * 300, "[" * 9000, '"/etc/passwd"', '"../outside/precious"',
    "1979-05-27", "0.5", "3", '"auto"', '"relu"', '"huber"', '"sgd"', '"' + "x" * 9000 + '"', "'''", "\x1b", "\x9b",
    '[["a", nan]]', '{ delta = nan }', '{ "\\u001b[2J" = 1 }', '"30s"', '"1e400s"', '"/dev/stdin"', '"."',
]  # fmt: skip
SOME = ["data", "target", "hidden", "loss", "optimizer", "lr", "device", "valid", "checkpoint-every", "monitor", "x"]


def harm_config(rng: random.Random, at: Path, _: Whole) -> None:
    """config.toml: other values, keys that are none, or other bytes."""
    path = at / "config.toml"
    if rng.random() < 0.2:
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
        return
    lines = path.read_text().split("\n")
    for _ in range(rng.randint(1, 3)):
        value = rng.choice(TOML)
        number = rng.randrange(len(lines))
        key = lines[number].partition(" = ")[0]
        if " = " in lines[number] and rng.random() < 0.8:
            lines[number] = f"{key} = {value}"
        elif rng.random() < 0.5:
            lines.insert(rng.randrange(len(lines)), f"{rng.choice(SOME)} = {value}")
        else:
            lines.insert(rng.randrange(len(lines)), rng.choice(['"\\u001b[2J" = 1', "[table]", "a.b = 1", "\x1b", "="]))
    path.write_text("\n".join(lines))


def harm_rest(rng: random.Random, at: Path, whole: Whole) -> None:
    """Files that are only written: they are others', folders, or links that lead out of the run."""
    name = rng.choice(
        [
            "metrics.jsonl",
            "lock",
            "history.csv",
            "curves.svg",
            "model.safetensors",
            "run.json",
            "config.toml",
            "checkpoints/last.safetensors",
            "checkpoints/best.safetensors",
            ".run.json.1-1.tmp",
            "checkpoints/.x.tmp",
        ]
    )
    path = at / name
    path.unlink(missing_ok=True)
    match rng.randrange(4):
        case 0:
            path.symlink_to(whole.folder / "outside" / "precious")
        case 1:
            path.mkdir()
        case 2:
            path.write_bytes(rng.choice([b"", b"\xff" * 99, b"\x1b[31m\n" * 9, b'{"epoch": ' + b"[" * 9999, b"\0"]))
        case _:
            pass  # it is gone


HARMS: list[Callable[[random.Random, Path, Whole], None]] = [harm_model, harm_record, harm_config, harm_rest]


# ---- what is asked of them ------------------------------------------------------------------------


def commands(rng: random.Random, at: Path) -> list[str]:
    """One that reads what was harmed."""
    model = rng.choice([at, at / "model.safetensors", at / "checkpoints" / "last.safetensors"])
    as_json = rng.choice([[], ["--json"]])
    return rng.choice(
        [
            ["show", str(model), *as_json],
            ["show", str(at), *as_json],
            ["evaluate", str(model), "rows.csv", *as_json, *rng.choice([[], ["--plot", "plot.svg"]])],
            ["predict", str(model), "rows.csv", *rng.choice([[], ["-o", "out.csv"]])],
            ["resume", str(at), *as_json, *rng.choice([[], ["--anywhere"], ["--quiet"]])],
            ["resume", str(at), *as_json],
            ["train", "--config", str(at / "config.toml"), "--epochs", "1", "--run-dir", "new"],
        ]
    )


def wrong(code: int, out: str, err: str) -> str:
    """What is wrong with the output; empty if nothing is."""
    if code not in ALLOWED:
        return f"exit code {code}: {err[-400:]}"
    if "Traceback" in err or "a bug in chainrule" in err:
        return f"a traceback: {err[-400:]}"
    for name, text in (("stdout", out), ("stderr", err)):
        for character in text:
            if character != "\n" and unicodedata.category(character) in CATEGORIES:
                at = text.index(character)
                return f"{character!r} on {name}: {text[max(0, at - 60) : at + 20]!r}"
    if code and len(err) > 20_000:
        return f"{len(err):,} characters of an error"
    return ""


def try_case(number: int, whole: Whole) -> str:
    """The outcome: "done", "refused", or what went wrong."""
    rng = random.Random(number)
    at = whole.folder / f"case {rng.choice(WORDS[:8])}"
    shutil.copytree(whole.run, at)
    try:
        # Links come last: nothing here is to write through them.
        for harm in sorted(rng.choices(HARMS, k=rng.choice([0, 1, 1, 1, 2])), key=HARMS.index):
            with contextlib.suppress(OSError, ValueError):  # the one before has left nothing to harm
                harm(rng, at, whole)
        argv = commands(rng, at)
        allowed = MEMORY + MEMORY_A_BYTE * sum(path.stat().st_size for path in at.rglob("*") if path.is_file())
        tracemalloc.start()
        try:
            code, out, err = call(argv)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return f"{argv[0]}: {type(error).__name__}: {error!s:.200}"
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        found = wrong(code, out, err)
        if not found and peak > allowed:
            found = f"{peak:,} bytes, {allowed:,} are allowed"
        if not found and code == 0 and "plot.svg" in argv:
            ET.parse("plot.svg")
        if (whole.folder / "outside" / "precious").read_text() != "precious":
            (whole.folder / "outside" / "precious").write_text("precious")
            found = "it has written outside of the run"
        if found:
            return f"{argv[0]}: {found}"
        return "done" if code == 0 else "refused"
    finally:
        for name in ("new", at):
            shutil.rmtree(name, ignore_errors=True)
        for file in ("plot.svg", "out.csv"):
            Path(file).unlink(missing_ok=True)


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many commands did what they were asked and refused it, and what went wrong, by number."""
    tally = Tally("done", "refused")
    os.environ.pop("CHAINRULE_DEVICE", None)
    with contextlib.chdir(folder):
        whole = prepare(folder)
        for number in numbers:
            said = try_case(number, whole)
            tally.add(number, said)
    return tally.result()
