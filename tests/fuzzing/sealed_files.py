"""Model files and checkpoints: description and arrays are changed and sealed again, so that the checksum is right."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np

import chainrule as cr
from campaigns import checkpoint_files, model_files, shown_files
from campaigns.damage import MODEL_ARRAYS, Harm, damaged, sealed
from chainrule.cli.console.prediction_table import as_csv, prediction_table
from chainrule.errors import DataError, ModelFileError, OptionError
from chainrule.files import model_file, sealed_file
from chainrule.files.sealed_file import Content, Format
from chainrule.nn.columns.column_data import ColumnData
from chainrule.tables.table import Table
from chainrule.train.checkpoints import checkpoint
from chainrule.train.checkpoints.writer import LAST
from fuzzing import values
from fuzzing.choices import Choices
from fuzzing.limits import Outcome, outcome_of
from fuzzing.targets import Target
from stopping import StopAfter

GOLDEN = Path(__file__).parents[1] / "golden"


def changed(
    choices: Choices,
    kind: Format,
    content: Content,
    *,
    version_of: Callable[[object], int],
    names: tuple[str, ...] = MODEL_ARRAYS,
    harm: Harm | None = None,
) -> bytes:
    """The sealed file of what the choices make of ``content``."""
    what = choices.randrange(5)  # with 4 nothing
    if what == 0:
        return damaged(choices, kind, content, version_of=version_of, names=names, harm=harm)
    description, arrays = copy.deepcopy(content.description), dict(content.arrays)
    if what in (1, 2):
        values.change_tree(choices, description)
    if what in (2, 3):
        values.change_arrays(choices, arrays)
    return sealed(kind, description, arrays, content.version)


class ModelFiles(Target):
    """Opened, then it predicts, its predictions are written and it is shown."""

    good = frozenset({"opened", "refused"})

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path, self.whole = folder / "model.safetensors", list[Content]()
        for net in model_files.nets():
            net.save(self.path)
            self.whole.append(sealed_file.read(self.path, model_file.FORMAT))
        self.whole += [sealed_file.read(path, model_file.FORMAT) for path in sorted(GOLDEN.glob("*.safetensors"))]

    def seeds(self) -> list[bytes]:
        return [bytes([i, what, *range(20)]) for i in range(len(self.whole)) for what in range(5)]

    def outcome(self, data: bytes) -> Outcome:
        choices = Choices(data)
        whole = choices.choice(self.whole)
        self.path.write_bytes(changed(choices, model_file.FORMAT, whole, version_of=model_file.version_of))
        found = outcome_of(self._open, refusal=ModelFileError)
        return found if found.said != "opened" else outcome_of(self._show, refusal=())

    def _open(self) -> str:
        net = cr.load(self.path, device="cpu")
        with np.errstate(all="ignore"), contextlib.suppress(cr.DataError):  # rows that do not fit are refused
            rows = np.ones((2, net.n_in))
            net.predict(rows)
            "".join(as_csv(prediction_table(net, rows)))
            if net.preparation.encoder is not None:
                net.predict_table(_table_for(net.preparation.encoder))
        return "opened"

    def _show(self) -> str:
        for options in ([], ["--json"]):
            code, out, err = shown_files.call(["show", str(self.path), *options])
            if said := shown_files.wrong(code, out, err):
                return f"show: {said}"
        return "opened"


def _table_for(encoder: cr.TableEncoder) -> Table:
    """Four rows: a number or a category that is known, one that is not, and holes."""
    columns: dict[str, ColumnData] = {}
    for column in encoder.columns:
        known = getattr(column, "categories", ())[:1]
        columns[column.name] = (
            np.array([0.5, -1e300, np.nan, np.nan])
            if column.kind == "number"
            else cr.Categorical(np.array([0, len(known), -1, -1], np.int32), (*known, "=unknown"))
        )
    return Table.from_columns(columns, None, "", "four rows")


class CheckpointFiles(Target):
    """Read, shown, and resumed: the fit ends, diverges, or is refused and leaves the net unchanged."""

    good = frozenset({"went on", "refused", "diverged"})

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path, self.whole = folder / LAST, list[tuple[checkpoint_files.Kind, Content]]()
        for kind in checkpoint_files.KINDS:
            for stop in (3, 10):
                kind.go(kind.trained(callbacks=[StopAfter(stop)], checkpoints=folder))
                self.whole.append((kind, sealed_file.read(self.path, checkpoint.FORMAT)))

    def seeds(self) -> list[bytes]:
        return [bytes([i, what, *range(20)]) for i in range(len(self.whole)) for what in range(5)]

    def outcome(self, data: bytes) -> Outcome:
        choices = Choices(data)
        kind, content = choices.choice(self.whole)
        anywhere = bool(choices.randrange(2))
        self.path.write_bytes(
            changed(
                choices,
                checkpoint.FORMAT,
                content,
                version_of=lambda _: 1,
                names=checkpoint_files.ARRAYS,
                harm=checkpoint_files.harm,
            )
        )
        trainer = kind.trained()
        before = trainer.net.parameter_arena.flat.tobytes()

        def go_on() -> str:
            try:
                with np.errstate(all="ignore"):
                    run = kind.go(trainer, resume=self.path, resume_anywhere=anywhere)
            except cr.DivergenceError:
                return "diverged"
            numbers = trainer.net.parameter_arena.flat
            right = np.isfinite(numbers).all() and 1 <= run.history.epochs <= trainer.epochs
            return "went on" if right else f"went on to {run.history.epochs} epochs and {numbers[:4]}"

        shown = outcome_of(self._show, refusal=())
        if shown.said != "shown":
            return shown
        found = outcome_of(go_on, refusal=(DataError, OptionError))
        if found.said == "refused" and trainer.net.parameter_arena.flat.tobytes() != before:
            return Outcome("refused, and the net has changed", "the net")
        return found

    def _show(self) -> str:
        code, out, err = shown_files.call(["show", str(self.path)])
        said = shown_files.wrong(code, out, err)
        return f"show: {said}" if said else "shown"
