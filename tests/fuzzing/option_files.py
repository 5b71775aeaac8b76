"""config.toml: keys that there are, with values of the right and of other types; or bytes as they come."""

from __future__ import annotations

import argparse
import contextlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from campaigns import shown_files
from chainrule.cli.options import optimisation, train_options
from chainrule.cli.options import types as options
from chainrule.cli.options.config import command_from, config_text, key_of
from chainrule.cli.options.fitting import interval
from chainrule.cli.options.parser import Parser
from chainrule.cli.options.toml_text import toml_value
from chainrule.cli.training.settings import settings_of
from chainrule.errors import OptionError
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.losses.names import LOSSES
from fuzzing import values
from fuzzing.choices import Choices
from fuzzing.limits import Outcome, outcome_of
from fuzzing.targets import Target

ROWS = "a,b,y\n" + "".join(f"{i % 7},{'rgb'[i % 3]},{i % 2}\n" for i in range(24))
WIDEST, MOST = 64, 3  # hidden layers and epochs of what is trained
MOST_KEYS = 8
ONE_OF = 3  # that are read is trained with: it takes most of the time
HUGE = [2**31, 2**53 + 1, 2**63, 10**18, 10**30]
WORDS = [
    "auto", "classify", "regress", "y", "a", "b", "-1", "30s", "1h", "9s", "1", "cpu", "valid_loss", "valid_accuracy",
    "levels", "delta", "label_smoothing", *LOSSES, *ACTIVATIONS, *optimisation.SCHEDULES, *optimisation.OPTIMIZERS,
]  # fmt: skip


def _word(choices: Choices) -> str:
    return choices.choice(WORDS)


def _several(draw: Callable[[Choices], Any]) -> Callable[[Choices], list[Any]]:
    return lambda choices: [draw(choices) for _ in range(1 + choices.randrange(3))]


def _small(choices: Choices) -> int:
    return 1 + choices.randrange(12) if choices.randrange(8) else choices.choice(HUGE)


def _fraction(choices: Choices) -> float:
    return choices.randrange(256) / 128


# By the type of an option, what it may be.
FITTING: dict[Any, Callable[[Choices], Any]] = {
    None: _word,
    Path: _word,
    options.source: _word,
    options.held_out: lambda choices: choices.randrange(256) / 256,
    float: _fraction,
    options.positive_int: _small,
    interval: lambda choices: choices.choice([_small(choices), f"{_small(choices)}s", f"{_fraction(choices)}m"]),
    options.seed: lambda choices: choices.randrange(1 << 63),
    options.widths: _several(_small),
    options.names: _several(_word),
    options.column_names: _several(_word),
    options.option: lambda choices: {
        _word(choices): choices.choice([_fraction(choices), _several(_fraction)(choices), _word(choices)])
        for _ in range(1 + choices.randrange(2))
    },
}


def _actions() -> list[argparse.Action]:
    parser = Parser(add_help=False)
    train_options.add_options_of_a_fit(parser)
    return parser._actions


class OptionFiles(Target):
    """Read, written and read again as the same; then a net is trained so, if it is a small one."""

    good = frozenset({"read", "refused", "trained", "not trained"})

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.actions, self.path = _actions(), folder / "config.toml"
        (folder / "rows.csv").write_text(ROWS)

    def seeds(self) -> list[bytes]:
        whole = (b"\0hidden = [3]\nloss-option = { levels = [0.1, 0.9] }\nlr = 0.1\nvalid = 0.2\n", b"\0epochs = 2\n")
        return [*whole, *(bytes([1, 2, i, 1, *range(30)]) for i in range(len(self.actions)))]

    def _value(self, choices: Choices, action: argparse.Action) -> Any:
        """One that the option may have, or any."""
        if choices.randrange(5) == 0:
            return choices.choice([values.value(choices), values.number(choices), choices.choice(WORDS)])
        if action.nargs == 0:
            return bool(choices.randrange(2))
        if action.choices is not None:
            return choices.choice(list(action.choices))
        return FITTING[action.type](choices)

    def _text(self, choices: Choices) -> str:
        lines = dict[str, str]()
        while choices.left and len(lines) < MOST_KEYS:
            action = choices.choice(self.actions)
            value = self._value(choices, action)
            with contextlib.suppress(TypeError, RecursionError):  # null has no form in TOML, nor has any depth
                lines[key_of(action)] = toml_value(value) if choices.randrange(32) else f"0x{'f' * 4000}"
        return "\n".join(f"{key} = {value}" for key, value in lines.items())

    def outcome(self, data: bytes) -> Outcome:
        choices = Choices(data)
        content = self._text(choices).encode("utf-8", "replace") if choices.randrange(2) else choices.rest()
        self.path.write_bytes(content)
        found = outcome_of(self._read, refusal=OptionError)
        trains = found.said == "read" and zlib.crc32(data) % ONE_OF == 0
        return outcome_of(self._train, refusal=()) if trains else found

    def _read(self) -> str:
        options = command_from(self.path).training
        again = self.folder / "again.toml"
        again.write_text(config_text(options, {}))
        written, read = options.values(), command_from(again).training.values()
        different = [(written[name], read[name]) for name in written if repr(written[name]) != repr(read[name])]
        if different:
            return f"written and read again as {different}"
        options = options.with_defaults()
        settings_of(options, rows=24, task="classify")
        options.updates.build()
        return "read"

    def _train(self) -> str:
        command = command_from(self.path)
        hidden, epochs, out = command.training.net.hidden or [], command.training.fit.epochs, command.output
        small = max(hidden, default=0) <= WIDEST and len(hidden) < MOST and (epochs or 0) <= MOST
        writes = out.log_json or out.tensorboard or command.place.run_dir
        if not small or writes or isinstance(command.training.data.valid, str):
            return "not trained"
        argv = ["train", "rows.csv", "--config", str(self.path), "--run-dir", "new", "--overwrite", "--device", "cpu"]
        argv += ["--target", "y", *([] if epochs else ["--epochs", "2"])]
        with contextlib.chdir(self.folder):
            code, out, err = shown_files.call(argv)
        if said := shown_files.wrong(code, out, err):
            return f"train: {said}"
        if code == 0:
            json.loads((self.folder / "new" / "run.json").read_text())
        return "trained"
