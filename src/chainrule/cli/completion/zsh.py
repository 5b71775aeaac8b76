"""The completion script for zsh."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chainrule.cli.completion.words import Command, Option, Value

SCRIPT = """\
#compdef chainrule
# zsh: completes chainrule's commands, options and values. For this shell: source <(chainrule completion zsh);
# for all: chainrule completion zsh > _chainrule, in a folder of $fpath

_chainrule() {
  local curcontext="$curcontext" state
  local -a commands line
  commands=(
@NAMES@
  )
  _arguments -C '(-h --help)'{-h,--help}'[show this help message and exit]' \\
    '--version[show the version]' '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe -t commands command commands ;;
    argument)
      curcontext="${curcontext%:*:*}:chainrule-$line[1]:"
      case $line[1] in
@COMMANDS@
      esac ;;
  esac
}

if [[ $funcstack[1] == _chainrule ]]; then
  _chainrule "$@"
else
  compdef _chainrule chainrule
fi
"""


def script(commands: Sequence[Command]) -> str:
    """The script."""
    names = "\n".join(f"    {_quoted(f'{c.name}:{c.about}')}" for c in commands)
    return SCRIPT.replace("@NAMES@", names).replace("@COMMANDS@", "\n".join(map(_command_lines, commands)))


def _command_lines(command: Command) -> str:
    specs = [spec for option in command.options for spec in _option_specs(option)]
    specs += [_quoted(f"{i}:{_value(value)}") for i, value in enumerate(command.positions, 1)]
    lines = [f"        {command.name}) _arguments -s", *(f"          {spec}" for spec in specs)]
    return " \\\n".join(lines) + " ;;"


def _option_specs(option: Option) -> list[str]:
    """One for each flag; either excludes the other."""
    others = "" if option.is_repeated else f"({' '.join(option.flags)})" if len(option.flags) > 1 else ""
    value = "" if option.value is None else f"{'::' if option.is_optional else ':'}{_value(option.value)}"
    star = "*" if option.is_repeated else ""
    return [_quoted(f"{star}{others}{flag}[{_escaped(option.about)}]{value}") for flag in option.flags]


def _value(value: Value) -> str:
    """``NAME:(a b)``, or files, or both, or nothing to choose from."""
    words = " ".join(value.words)
    if value.is_path:
        return f"{_escaped(value.name)}:{{ compadd -- {words}; _files }}" if words else f"{_escaped(value.name)}:_files"
    return f"{_escaped(value.name)}:({words})" if words else f"{_escaped(value.name)}: "


def _escaped(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


def _quoted(text: str) -> str:
    quoted = text.replace("'", "'\\''")
    return f"'{quoted}'"
