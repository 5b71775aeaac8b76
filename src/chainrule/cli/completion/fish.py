"""The completion script for fish, from 3.0 on."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.cli.completion.words import Command, Option, Value

HEAD = """\
# fish: completes chainrule's commands, options and values. For this shell: chainrule completion fish | source;
# for all: chainrule completion fish > ~/.config/fish/completions/chainrule.fish
complete -c chainrule -f
complete -c chainrule -n __fish_use_subcommand -s h -l help -d 'show this help message and exit'
complete -c chainrule -n __fish_use_subcommand -l version -d 'show the version'"""


def script(commands: Sequence[Command]) -> str:
    """The script."""
    lines = [HEAD]
    for command in commands:
        about = _quoted(command.about)
        lines.append(f"complete -c chainrule -n __fish_use_subcommand -a {command.name} -d {about}")
    return "\n".join([*lines, *(line for command in commands for line in _command_lines(command))]) + "\n"


def _command_lines(command: Command) -> list[str]:
    begin = f"complete -c chainrule -n '__fish_seen_subcommand_from {command.name}'"
    lines = [f"{begin} {_option(option)}" for option in command.options]
    if command.takes_paths:
        lines.append(f"{begin} -F")
    if command.words:
        lines.append(f"{begin} -a {_quoted(' '.join(command.words))}")
    return lines


def _option(option: Option) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    value = "" if option.value is None else _value(option.value, is_optional=option.is_optional)
    return f"{flags}{value} -d {_quoted(option.about)}"


def _value(value: Value, *, is_optional: bool) -> str:
    """It is required (-r) unless optional, and no file (-f) or one (-F)."""
    words = f" -a {_quoted(' '.join(value.words))}" if value.words else ""
    return f"{'' if is_optional else ' -r'}{' -F' if value.is_path else ' -f'}{words}"


def _quoted(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
