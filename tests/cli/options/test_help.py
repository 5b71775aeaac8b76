"""Help begins with two examples that run as they stand; `chainrule help` is `--help`."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest

from chainrule.cli.commands import verify
from chainrule.cli.main import main
from chainrule.cli.options.examples import EXAMPLE_RUN
from chainrule.cli.parsers import COMMANDS, parser_of, parsers
from chainrule.verify.checks import run_checks

TITLE = f"examples, after `{EXAMPLE_RUN}`:"


def help_of(run, *command: str) -> str:
    """What ``chainrule help`` prints, compared with ``--help``."""
    found = run("help", *command)
    assert (found.code, found.err) == (0, "")
    return found.out


def examples_in(text: str) -> list[str]:
    """The lines below the title, which is the second paragraph."""
    title, *lines = text.split("\n\n")[1].splitlines()
    assert title in {"examples:", TITLE}
    return [line.removeprefix("  ") for line in lines]


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)], ids=lambda names: " ".join(names) or "none")
def test_help_of_a_command_is_its_help_option_and_begins_with_two_examples(run, capsys, command):
    text = help_of(run, *command)
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == text
    examples = examples_in(text)
    assert len(examples) == 2
    assert all(example.startswith(f"chainrule {' '.join(command)}") for example in examples)
    assert (TITLE in text) == any("runs/digits" in example for example in examples if example != EXAMPLE_RUN)
    assert text.index("usage: chainrule") > text.index(examples[1])


def test_help_lists_the_commands(run):
    text = help_of(run)
    assert re.findall(r"^    (\w+)", text.partition("COMMAND\n")[2], re.MULTILINE) == list(COMMANDS)


@pytest.fixture(scope="module")
def example_run(tmp_path_factory) -> Path:
    """The folder in which the first example has run."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(shlex.split(EXAMPLE_RUN)[1:]) == 0
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_run_as_they_stand(example_run, monkeypatch, capsys, command):
    monkeypatch.chdir(example_run)
    if command == "verify":  # all of them take half a minute, and other tests run them
        monkeypatch.setattr(verify, "run_checks", lambda backend: itertools.islice(run_checks(backend), 2))
    examples = [example for example in parser_of(command).examples if example != EXAMPLE_RUN]
    for example in examples:
        name, *argv = shlex.split(example)
        assert (name, main(argv)) == ("chainrule", 0), capsys.readouterr().err
        out = capsys.readouterr().out
        if "--json" in argv:
            assert json.loads(out)["ok"] is True
        for path in (p for p in argv if Path(p).suffix in {".csv", ".npy", ".svg", ".onnx"}):
            assert Path(path).stat().st_size > 0


def test_the_examples_of_all_are_examples_of_commands():
    assert all(e in parser_of(shlex.split(e)[1]).examples for e in parsers([])[0].examples)
