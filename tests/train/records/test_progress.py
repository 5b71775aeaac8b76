"""Progress: a bar on a terminal and in a notebook, lines everywhere, and never a reason to fail."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import types

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.records.progress import bar_alone
from chainrule.train.records.progress_displays import has_bar
from chainrule.train.records.progress_text import (
    ASCII_SIGNS,
    BAR_SIGNS,
    clock,
    cut_to,
    describe,
    progress_line,
    width_of,
)
from chainrule.train.stop_request import GROUP, StopRequest
from screen import PseudoTerminal

LINES = [
    ({"loss": 0.0211111}, "train 0.02111"),
    ({"loss": 0.5, "accuracy": 0.25}, "train 0.5  accuracy 0.25"),
    ({"loss": 1.0, "accuracy": 0.9, "valid_loss": 2.0, "valid_accuracy": 0.8}, "train 1  valid 2  accuracy 0.8"),
    ({"loss": 1.0, "r2": 0.9, "valid_loss": 2.0, "valid_r2": -3.0}, "train 1  valid 2  r2 -3"),
    ({"loss": 1.0, "d2": 0.9, "valid_loss": 2.0, "valid_d2": 0.8, "valid_mae": 3.0}, "train 1  valid 2  d2 0.8  mae 3"),
    ({"loss": 1.0, "valid_loss": 2.0, "valid_accuracy": 0.8}, "train 1  valid 2"),
    ({"loss": 0.5, "r2": 0.9, "left_out_loss": 0.75}, "train 0.5  r2 0.9  left out 0.75"),
    ({}, ""),
]


@pytest.mark.parametrize(("metrics", "line"), LINES)
def test_describe_metrics_of_an_epoch(metrics, line):
    assert describe(metrics | {"lr": 0.1, "seconds": 3.0}) == line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (0.2, "0:01"), (42, "0:42"), (723, "12:03"), (3723, "1:02:03")]
)
def test_time_left(seconds, text):
    assert clock(seconds) == text


def test_progress_line_shortens_its_bar_then_drops_it_then_is_cut():
    def line(columns: int, metrics: str = "train 0.5") -> str:
        return progress_line(15.5, 60, 42.0, metrics, columns=columns, signs=ASCII_SIGNS)

    assert line(80) == "epoch 15/60 #####---------------  0:42 left  train 0.5"
    assert line(44) == "epoch 15/60 ##-------- 0:42 left  train 0.5".replace(" 0:42", "  0:42")
    assert line(36) == "epoch 15/60  0:42 left  train 0.5"
    assert line(20) == "epoch 15/60  0:42 le"
    assert line(0) == ""
    assert width_of(line(30, "損失 0.5 損失 0.5")) in {29, 30}
    assert progress_line(0, 60, float("nan"), "", columns=80, signs=BAR_SIGNS) == "epoch 0/60 " + "─" * 20


def test_width_of_wide_and_combining_characters():
    assert [width_of(text) for text in ("abc", "é", "e\u0301", "損失")] == [3, 1, 1, 4]
    assert cut_to("損失損失", 3) == "損"


class Stream(io.StringIO):
    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self.terminal, self.codec = terminal, encoding

    def isatty(self) -> bool:
        return super().isatty() or self.terminal  # a ValueError if it is closed

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.codec


@pytest.fixture
def stream(monkeypatch):
    """Makes stderr another stream."""
    monkeypatch.setenv("TERM", "xterm")

    def make(**options) -> Stream:
        made = Stream(**options)
        monkeypatch.setattr(sys, "stderr", made)
        return made

    return make


@pytest.fixture
def terminal(monkeypatch):
    """Makes stdout and stderr a pseudo-terminal of so many columns."""
    monkeypatch.setenv("TERM", "xterm")
    made: list[PseudoTerminal] = []

    def make(columns: int) -> PseudoTerminal:
        made.append(PseudoTerminal(columns))
        monkeypatch.setattr(sys, "stderr", made[0].stream)
        monkeypatch.setattr(sys, "stdout", made[0].stream)
        return made[0]

    yield make
    for each in made:
        each.close()


def trainer(**options) -> cr.Trainer:
    net = cr.MLP([2, 3, 2], backend=cr.backend("cpu"))
    return cr.Trainer(net, **{"epochs": 3, "progress": True, **options})


ROWS = np.eye(2), np.arange(2)


def lines_of(run: cr.Run, epochs: int, *, every: int = 1) -> list[str]:
    """What stays of a run: each so many-th epoch, and the last."""
    history = run.history
    kept = [e for e in range(1, history.epochs + 1) if e % every == 0 or e == history.epochs]
    metrics = [{name: values[e - 1] for name, values in history.items()} for e in kept]
    return [f"epoch    {e}/{epochs}  {describe(m)}" for e, m in zip(kept, metrics, strict=True)]


@pytest.mark.parametrize("batch_size", [1, 40])
@pytest.mark.parametrize(
    ("progress", "is_terminal", "shows"), [(True, True, "bar"), (True, False, "lines"), (False, True, "")]
)
def test_progress_is_shown_if_it_is_asked_for(stream, classes, progress, is_terminal, shows, batch_size):
    """With batches of one row an epoch has several synchronisations, and parts of epochs are shown too."""
    shown = stream(terminal=is_terminal)
    rows = {"X": np.tile(classes.X, (3, 1)), "y": np.tile(classes.y, 3)}
    run = cr.Trainer(cr.MLP(classes.widths), batch_size=batch_size, epochs=2, progress=progress).fit(**rows)
    if shows == "lines":
        assert shown.getvalue().splitlines() == lines_of(run, 2)
    else:
        assert ("epoch 0/2 ──" in shown.getvalue()) == (shows == "bar")


def test_progress_without_stderr_or_beside_other_fits_shows_nothing(monkeypatch, stream):
    token = GROUP.set(StopRequest())
    try:
        shown = stream(terminal=True)
        trainer().fit(*ROWS)
        assert not shown.getvalue()
    finally:
        GROUP.reset(token)
    closed = stream(terminal=True)
    closed.close()
    assert trainer().fit(*ROWS).history.epochs == 3
    assert not has_bar()
    monkeypatch.setattr(sys, "stderr", None)
    assert trainer().fit(*ROWS).history.epochs == 3
    assert not has_bar()


def test_progress_on_a_terminal_without_control_sequences_is_lines(monkeypatch, stream):
    shown = stream(terminal=True)
    monkeypatch.setenv("TERM", "dumb")
    run = trainer().fit(*ROWS)
    assert shown.getvalue().splitlines() == lines_of(run, 3)


def test_progress_restores_the_terminal_if_a_fit_fails(stream, classes):
    shown = stream(terminal=True)

    def fail(_: cr.EpochRecord) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        cr.Trainer(cr.MLP(classes.widths), progress=True, callbacks=[fail]).fit(classes.X, classes.y)
    assert shown.getvalue().rfind("\x1b[?25h") > shown.getvalue().rfind("\x1b[?25l"), "the cursor is still hidden"
    assert sys.stderr is shown


def test_progress_on_a_terminal_that_goes_away(stream):
    """Nothing more is shown, and what prints afterwards prints to the stream itself."""
    shown, found = stream(terminal=True), []

    def go(record: cr.EpochRecord) -> None:
        found.append(sys.stderr is shown)
        if record.epoch == 1:
            shown.close()

    run = trainer(callbacks=[go]).fit(*ROWS)
    assert run.history.epochs == 3
    assert found == [False, True, True]
    assert sys.stderr is shown


def test_progress_on_a_terminal_without_box_characters(stream):
    shown = stream(terminal=True, encoding="ascii")
    trainer().fit(*ROWS)
    assert "epoch 0/3 -----" in shown.getvalue()
    assert shown.getvalue().isascii()


@pytest.mark.parametrize("columns", [50, 200])
def test_bar_on_a_terminal_fits_into_it_and_leaves_ten_lines(terminal, columns):
    tty = terminal(columns)
    drawn: list[str] = []
    run = trainer(epochs=40, callbacks=[lambda record: drawn.append(tty.read())]).fit(*ROWS, validation=ROWS)
    drawn.append(tty.read())
    bars = re.findall("\x1b\\[J([^\r\n\x1b]+)\r(?!\n)", "".join(drawn))
    assert len(bars) > 10
    assert max(map(len, bars)) < columns
    assert any("━" in bar for bar in bars) == (columns == 200)
    assert tty.screen.shown == lines_of(run, 40, every=4)


@pytest.mark.parametrize(("before", "after"), [(200, 50), (50, 200), (200, 7)])
def test_resizing_leaves_no_torn_line(terminal, before, after):
    tty = terminal(before)

    def resize(record: cr.EpochRecord) -> None:
        if record.epoch % 4 == 2:
            tty.resize(after if record.epoch % 8 == 2 else before)

    run = trainer(epochs=40, callbacks=[resize]).fit(*ROWS, validation=ROWS)
    tty.read()
    assert tty.screen.shown == lines_of(run, 40, every=4)


def test_what_a_callback_prints_stands_above_the_bar(terminal):
    tty = terminal(100)

    def tell(record: cr.EpochRecord) -> None:
        if record.epoch == 1:
            print("one")
        if record.epoch == 2:
            print("two", end="", file=sys.stderr)
        if record.epoch == 3:
            print(" halves")

    run = trainer(epochs=30, callbacks=[tell]).fit(*ROWS)
    tty.read()
    lines = lines_of(run, 30, every=3)
    assert tty.screen.shown == ["one", "two halves", *lines]
    assert sys.stdout is tty.stream


def test_part_of_something_larger_has_a_bar_alone(stream, terminal):
    """As the folds of `chainrule cv`, which have a line each."""
    shown = stream(terminal=False)
    with bar_alone():
        trainer().fit(*ROWS)
    assert not shown.getvalue()
    tty = terminal(100)
    with bar_alone():
        trainer().fit(*ROWS)
    assert "epoch 0/3 ───" in tty.read()
    assert not tty.screen.shown


def test_early_end_leaves_the_last_epoch(stream):
    shown = stream(terminal=False)
    run = trainer(epochs=100, callbacks=[lambda record: record.stop() if record.epoch == 13 else None]).fit(*ROWS)
    assert shown.getvalue().splitlines() == lines_of(run, 100, every=10)
    assert shown.getvalue().splitlines()[-1].startswith("epoch    13/100")


def test_resumed_fit_shows_the_epochs_from_there_on(stream, tmp_path):
    stop = lambda record: record.stop() if record.epoch == 2 else None
    trainer(epochs=5, checkpoints=tmp_path, callbacks=[stop], progress=False).fit(*ROWS)
    shown = stream(terminal=False)
    run = trainer(epochs=5).fit(*ROWS, resume=tmp_path)
    assert shown.getvalue().splitlines() == lines_of(run, 5)[2:]


def test_progress_into_a_pipe_is_a_line_now_and_then():
    """Of a process of its own, as a script in a job writes into its log."""
    script = (
        "import chainrule as cr, numpy as np\n"
        "net = cr.MLP([2, 3, 2], backend=cr.backend('cpu'))\n"
        "cr.Trainer(net, epochs=35, progress=True).fit(np.eye(2), np.arange(2))\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in found.stderr.splitlines()] == [f"{e}/35" for e in (*range(4, 33, 4), 35)]
    assert "\x1b" not in found.stderr
    assert not found.stdout


# ---- a notebook -----------------------------------------------------------------------------------


class FrontEnd:
    """IPython as a kernel has it, whose outputs are kept: ``outputs`` by id, and each state of them in ``shown``."""

    def __init__(self, shell: str) -> None:
        self.outputs: dict[int, str] = {}
        self.shown: list[str] = []
        self.module, self.display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
        self.module.get_ipython = type(shell, (), {})  # type: ignore[attr-defined]
        self.display.display = self.show  # type: ignore[attr-defined]

    def show(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> FrontEnd:
        assert raw
        assert display_id
        self.number = len(self.outputs)
        self.update(bundle, raw=raw)
        return self

    def update(self, bundle: dict[str, str], *, raw: bool) -> None:
        assert list(bundle) == ["text/plain"]
        self.outputs[self.number] = bundle["text/plain"]
        self.shown.append(bundle["text/plain"])


@pytest.fixture
def front_end(monkeypatch, stream):
    def make(shell: str = "ZMQInteractiveShell") -> tuple[FrontEnd, Stream]:
        made = FrontEnd(shell)
        monkeypatch.setitem(sys.modules, "IPython", made.module)
        monkeypatch.setitem(sys.modules, "IPython.display", made.display)
        return made, stream(terminal=False)

    return make


def test_notebook_has_one_output_that_changes_and_keeps_the_lines(front_end):
    notebook, stderr = front_end()
    run = trainer(epochs=40).fit(*ROWS)
    assert list(notebook.outputs.values()) == ["\n".join(lines_of(run, 40, every=4))]
    assert notebook.shown[0] == "epoch 0/40 " + "─" * 20
    first_kept = next(text for text in notebook.shown if text.startswith("epoch    4/40"))
    assert re.fullmatch(r"epoch    4/40  .*\nepoch 4/40 ━━─+  \d+:\d\d left  train .*", first_kept)
    assert not stderr.getvalue()


def test_estimator_in_a_notebook_has_that_output_and_no_line_per_epoch(front_end, capsys):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    notebook, _ = front_end()
    X = np.arange(80.0).reshape(40, 2)
    cr.MLPClassifier((3,), max_iter=20, verbose=True, device="cpu", shrink=False).fit(X, X[:, 0] > 40)
    assert len(notebook.outputs) == 1
    assert "epoch    2/20" in notebook.outputs[0]
    assert not capsys.readouterr().out


def test_ipython_in_a_terminal_is_no_notebook(front_end):
    notebook, stderr = front_end("TerminalInteractiveShell")
    run = trainer().fit(*ROWS)
    assert not notebook.outputs
    assert stderr.getvalue().splitlines() == lines_of(run, 3)


def test_cell_of_a_real_kernel_shows_progress_and_leaves_the_lines():
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    cell = nbformat.v4.new_code_cell(
        "import chainrule as cr, numpy as np\n"
        "net = cr.MLP([2, 3, 2], backend=cr.backend('cpu'))\n"
        "run = cr.Trainer(net, epochs=30, progress=True).fit(np.eye(2), np.arange(2))\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = cell.outputs
    lines = output["data"]["text/plain"].splitlines()
    assert [line.split()[1] for line in lines] == [f"{e}/30" for e in range(3, 31, 3)]
