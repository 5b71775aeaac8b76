"""The completion script for bash, from 3.2 on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from chainrule.cli.completion.words import Command, Value

SCRIPT = """\
# bash: completes chainrule's commands, options and values. For this shell: source <(chainrule completion bash);
# for all: chainrule completion bash > ~/.local/share/bash-completion/completions/chainrule

_chainrule_words() {  # WORDS: those that begin as the current one does
    local line
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -W "$1" -- "$cur")
}

_chainrule_paths() {  # WORDS: those, and files and folders
    local line
    _chainrule_words "$1"
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$cur")
    compopt -o filenames 2> /dev/null
}

_chainrule() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= word
    COMPREPLY=()
    if [[ $cur == = ]]; then  # --loss=, which bash splits
        cur=
    elif [[ $prev == = ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD - 1}"; do
        if [[ $word != -* ]]; then
            command=$word
            break
        fi
    done
    case "$command $prev" in
@VALUES@
    esac
    case "$command" in
@COMMANDS@
    esac
}

complete -F _chainrule chainrule
"""


def script(commands: Sequence[Command]) -> str:
    """The script."""
    values = [line for command in commands for line in _value_lines(command)]
    names = " ".join(command.name for command in commands)
    parts = [_command_lines('""', "-h --help --version", f"_chainrule_words {shlex.quote(names)}")]
    parts += [_command_lines(c.name, " ".join(c.flags), _call(c.words, paths=c.takes_paths)) for c in commands]
    return SCRIPT.replace("@VALUES@", "\n".join(values)).replace("@COMMANDS@", "\n".join(parts))


def _value_lines(command: Command) -> list[str]:
    """What follows an option that takes a value: nothing is offered if it cannot be foreseen."""
    taking: dict[Value, list[str]] = {}
    for option in command.options:
        if option.value is not None and not option.is_optional:
            value = Value("", option.value.words, option.value.is_path)
            taking.setdefault(value, []).extend(f'"{command.name} {flag}"' for flag in option.flags)
    return [
        f"        {' | '.join(patterns)}) {_call(value.words, paths=value.is_path)}; return ;;"
        for value, patterns in taking.items()
    ]


def _command_lines(pattern: str, flags: str, otherwise: str) -> str:
    """What is offered for an option of the command, and for anything else."""
    offer = f'if [[ $cur == -* ]]; then _chainrule_words "{flags}"; else {otherwise}; fi'
    return f"        {pattern}) {offer} ;;"


def _call(words: Sequence[str], *, paths: bool) -> str:
    if not words and not paths:
        return ":"
    return f"_chainrule_{'paths' if paths else 'words'} {shlex.quote(' '.join(words))}"
