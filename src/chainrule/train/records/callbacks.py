"""Callbacks: the user's code beside a fit, called when it starts, after steps and epochs, and when it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from chainrule.errors import OptionError
from chainrule.options import whole_number
from chainrule.plain_text import show
from chainrule.train.diagnosis.layer_statistics import LayerStatistics
from chainrule.train.records.run import EpochRecord, Run, StartRecord, StepRecord
from chainrule.train.stop_request import StopRequest

EpochFunction = Callable[[EpochRecord], object]


class Callback:
    """Code that runs beside a fit: inherit from it and override the methods that you need. Here they do nothing.

    ``on_end`` is called for every callback whose ``on_start`` returned, the last one first, however the fit ends. An
    error of a callback ends the fit as an interruption does, with the weights of the best epoch, and is raised from
    :meth:`Trainer.fit` as it is.

    ``every`` is the number of steps between two calls of ``on_step_end``; None for no such calls. A device works
    through many steps without the host; with ``every`` the host synchronises, and reads the loss, that often.

    ``only_reads`` says that it changes nothing of the net, its layers and its loss. If all callbacks say so, a device
    that replays recorded steps begins an epoch without a look whether they are still the same.
    """

    every: int | None = None
    only_reads: bool = False

    def on_start(self, record: StartRecord) -> object:
        """Before the first step."""

    def on_step_end(self, record: StepRecord) -> object:
        """After each step whose number (from 1) is a multiple of ``every``."""

    def on_epoch_end(self, record: EpochRecord) -> object:
        """After each epoch, evaluated; the net has its weights."""

    def on_end(self, run: Run) -> object:
        """After the last step; the net has the weights that it will keep."""


class FunctionCallback(Callback):
    """A plain function, called at each epoch's end."""

    def __init__(self, function: EpochFunction) -> None:
        self._function = function

    def on_epoch_end(self, record: EpochRecord) -> object:
        return self._function(record)


def as_callbacks(callbacks: Sequence[Callback | EpochFunction]) -> tuple[Callback, ...]:
    """Functions as callbacks; OptionError for anything else in the list, and for one callback instead of a list."""
    if callable(callbacks) or isinstance(callbacks, Callback):
        raise OptionError(f"callbacks: expected a list, got {show(callbacks)}", hint=f"callbacks=[{callbacks!r}]")
    return tuple(_as_callback(c) for c in callbacks)


def _as_callback(callback: Any) -> Callback:
    if isinstance(callback, Callback):
        _interval(callback)
        return callback
    if not callable(callback) or (isinstance(callback, type) and issubclass(callback, Callback)):
        raise OptionError(
            f"callback: expected a cr.Callback or a function of an EpochRecord, got {callback!r}",
            hint="an object of a class that inherits from cr.Callback, or a function",
        )
    return FunctionCallback(callback)


def _interval(callback: Callback) -> int | None:
    """Its ``every``, checked; OptionError for an ``on_step_end`` without it."""
    kind = type(callback)
    if callback.every is not None:
        return whole_number(f"every of {kind.__name__}", callback.every)
    says = "every" in vars(callback) or any("every" in vars(c) for c in kind.__mro__ if c is not Callback)
    if kind.on_step_end is not Callback.on_step_end and not says:
        raise OptionError(
            f"{kind.__name__} has on_step_end and does not say how often it is to be called",
            hint="every = 100 in its class: after each hundredth step",
        )
    return None


class CallbackLoop:
    """The callbacks of one fit, and what the fit has to know of them.

    Parameters
    ----------
    callbacks : as :func:`as_callbacks` returns them
    layer_statistics : measured for a diagnosis, before the callbacks of the same moment; None without one
    """

    def __init__(self, callbacks: Sequence[Callback], layer_statistics: LayerStatistics | None = None) -> None:
        self._callbacks, self._statistics = callbacks, layer_statistics
        self._stepped: list[tuple[Callback, int]] = []
        self.stop = StopRequest()  # all that a record keeps alive of this fit
        # Code of the user's that is handed the net may change what a step launches; metrics get two NumPy arrays.
        self.only_read = all(callback.only_reads for callback in callbacks)

    @contextlib.contextmanager
    def started(self, record: StartRecord) -> Iterator[None]:
        """Within it callbacks have been told of the start; at its end they are told of the end."""
        with contextlib.ExitStack() as ends:
            for callback in self._callbacks:
                callback.on_start(record)
                ends.callback(callback.on_end, record.run)
            # Only now, because on_start may set it: the steps per epoch are known there.
            self._stepped = [(c, every) for c in self._callbacks if (every := _interval(c)) is not None]
            if self._statistics is not None:
                self._statistics.start()
                ends.callback(self._statistics.end, record.run)  # the first, so that callbacks see the diagnosis
            yield

    def steps_to_next(self, step: int, most: int) -> int:
        """How many steps may be done after ``step`` of them before a callback is due: from 1 to ``most``."""
        for _, every in self._stepped:
            most = min(most, every - step % every)
        return most if self._statistics is None else min(most, self._statistics.steps_to_next(step))

    def step_end(self, step: int, last_step: Callable[[], tuple[int, float, float]]) -> None:
        """``step`` steps are done; ``last_step`` gives the epoch, loss and learning rate of the last. Synchronises."""
        if self._statistics is not None:
            self._statistics.step_end(step)
        due = [callback for callback, every in self._stepped if step % every == 0]
        if due:
            record = StepRecord(step, *last_step(), self.stop)
            for callback in due:
                callback.on_step_end(record)

    def epoch_end(self, record: EpochRecord) -> None:
        """An epoch is over and evaluated."""
        if self._statistics is not None:
            self._statistics.epoch_end(record.epoch)
        for callback in self._callbacks:
            callback.on_epoch_end(record)
