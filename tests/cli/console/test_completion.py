"""The completion scripts, asked as a shell asks them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from chainrule.cli.completion.words import commands
from chainrule.cli.parsers import COMMANDS, parser_of, parsers
from chainrule.nn.losses.names import LOSSES

FOLDER = "my folder"
FILES = ["digits.csv", "a $(touch hacked) *.csv", FOLDER]


@pytest.fixture
def script(run, tmp_path):
    """The script for a shell; the files of FILES are in the folder that it is asked in."""

    def write(shell: str) -> Path:
        found = run("completion", shell)
        assert (found.code, found.err) == (0, "")
        path = tmp_path / f"script.{shell}"
        path.write_text(found.out)
        here = tmp_path / "here"
        (here / FOLDER).mkdir(parents=True)
        for name in FILES[:2]:
            (here / name).touch()
        os.chdir(here)
        return path

    return write


@pytest.fixture
def bash(script):
    """What bash offers for a line that ends where the cursor is, split as bash splits it."""
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    path = script("bash")

    def offered(line: str) -> list[str]:
        words = [word for part in line.split(" ") for word in re.split("(=)", part) if word or part == ""]
        ask = f"""
            source {shlex.quote(str(path))}
            [[ $(complete -p chainrule) == "complete -F _chainrule chainrule" ]] || exit 9
            COMP_WORDS=({shlex.join(words)})
            COMP_CWORD={len(words) - 1}
            _chainrule
            ((${{#COMPREPLY[@]}})) && printf '%s\\n' "${{COMPREPLY[@]}}"
            exit 0
        """
        found = subprocess.run(["bash", "--norc", "-c", ask], capture_output=True, text=True, check=True)
        assert found.stderr == ""
        return found.stdout.splitlines()

    return offered


ASKED = {
    "chainrule ": list(COMMANDS),
    "chainrule e": ["evaluate", "export", "explain"],
    "chainrule --": ["--help", "--version"],
    "chainrule help pre": ["predict"],
    "chainrule completion ": ["bash", "zsh", "fish"],
    "chainrule train --ep": ["--epochs"],
    "chainrule train digits --lo": ["--loss", "--loss-option", "--log-json"],
    "chainrule cv --log": [],
    "chainrule cv --run-d": [],
    "chainrule train --loss ": list(LOSSES),
    "chainrule train --loss=": list(LOSSES),
    "chainrule train --loss=sq": ["squared_error", "squared_error_sum"],
    "chainrule train digits --quiet --optimizer ad": ["adamw", "adam"],
    "chainrule verify --device ": ["auto", "cpu", "cuda"],
    "chainrule train --epochs ": [],
    "chainrule train di": ["digits", "digits.csv"],
    "chainrule train ": ["digits", *FILES],
    "chainrule train --config ": FILES,
    "chainrule predict m digits -o my": [FOLDER],
    "chainrule doctor ": [],
    "chainrule doctor --w": ["--warm"],
    "chainrule nonsense ": [],
}


def test_bash_completes_commands_options_values_and_files(bash):
    assert {line: sorted(bash(line)) for line in ASKED} == {line: sorted(words) for line, words in ASKED.items()}
    assert not Path("hacked").exists()


def test_bash_calls_the_function_for_chainrule(bash):
    """With a terminal that types a Tab."""
    path = Path("../script.bash").resolve()
    typed = "chainrule evaluate --pl\t x.svg\n"
    shell = ["bash", "--norc", "--noprofile", "-i"]
    text = f"PS1=; source {shlex.quote(str(path))}; chainrule() {{ printf 'got<%s>' \"$@\"; }}\n{typed}exit\n"
    pty = pytest.importorskip("pty", reason="a terminal")
    master, slave = pty.openpty()
    with subprocess.Popen(shell, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as process:
        os.close(slave)
        end = threading.Timer(60, process.kill)
        end.start()
        os.write(master, text.encode())
        said = b""
        while chunk := _read(master):
            said += chunk
        end.cancel()
    os.close(master)
    assert process.returncode == 0
    assert "got<evaluate>got<--plot>got<x.svg>" in said.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # nobody writes any more
        return b""


def test_fish_completes_commands_options_values_and_files(script):
    if shutil.which("fish") is None:
        pytest.skip("no fish")
    path = script("fish")
    for line in (
        "chainrule ",
        "chainrule train --ep",
        "chainrule train digits --quiet --optimizer ad",
        "chainrule train di",
    ):
        ask = f"source {shlex.quote(str(path))}; complete -C {shlex.quote(line)}"
        found = subprocess.run(["fish", "--no-config", "-c", ask], capture_output=True, text=True, check=True)
        assert found.stderr == ""
        words = [text.partition("\t")[0].replace("\\", "") for text in found.stdout.splitlines()]
        assert sorted(words) == sorted(ASKED[line])


def test_zsh_reads_its_script(script):
    if shutil.which("zsh") is None:
        pytest.skip("no zsh")
    subprocess.run(["zsh", "-f", "-n", str(script("zsh"))], check=True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_has_every_option_and_choice_of_the_parsers(script, shell):
    text = script(shell).read_text()
    for command in commands():
        assert command.flags == tuple(flag for a in parser_of(command.name)._actions for flag in a.option_strings)
        part = "\n".join(line for line in _lines_of(text, command.name, shell))
        for flag in command.flags:
            name = flag if shell != "fish" else f" -{'l' if flag.startswith('--') else 's'} {flag.lstrip('-')} "
            assert name in part, (command.name, flag)
        for option in command.options:
            if option.value is not None and not option.is_optional:
                assert " ".join(option.value.words) in part


def _lines_of(text: str, name: str, shell: str) -> list[str]:
    """Those about one command."""
    if shell == "zsh":
        (part,) = re.findall(rf"^        {name}\) _arguments.*?;;$", text, re.MULTILINE | re.DOTALL)
        return part.splitlines()
    begins = {"bash": rf'\s+("{name} |{name}\))', "fish": rf".*from {name}'"}[shell]
    return [line for line in text.splitlines() if re.match(begins, line)]


def test_the_options_before_a_command_are_those_of_the_parser():
    """Scripts have them as they stand here."""
    assert [*parsers([])[0]._option_string_actions] == ["-h", "--help", "--version"]


def test_a_shell_that_is_not_known_is_refused(run):
    found = run("completion", "zhs")
    assert (found.code, "hint: did you mean 'zsh'?" in found.err) == (2, True)
