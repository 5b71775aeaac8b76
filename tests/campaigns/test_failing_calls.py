"""Saves whose calls fail: some of them by strace, all of them by exchanged functions of Python."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

import chainrule as cr
from campaigns import failing_calls


def test_system_calls_that_kill_or_fail(folder):
    if reason := failing_calls.problem():
        pytest.skip(reason)
    counts, findings = failing_calls.run(range(11, 12), folder)
    assert findings == {}
    assert sum(counts.values()) >= 4


class Failing:
    """Counts the calls that a save makes, and lets the ``n``-th (from 1) fail; 0 for none."""

    def __init__(self, n: int, number: int) -> None:
        self.n, self.number, self.calls = n, number, 0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.n:
                raise OSError(self.number, os.strerror(self.number))
            return function(*args, **kwargs)

        return counted


def failing_save(monkeypatch: pytest.MonkeyPatch, save: Callable[[], object], n: int, number: int) -> int:
    """How many calls ``save`` made, of which the ``n``-th failed."""
    failing = Failing(n, number)
    with monkeypatch.context() as patch:
        for name in ("open", "write", "fsync", "close", "read", "replace"):
            patch.setattr(os, name, failing(getattr(os, name)))
        save()
    return failing.calls


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_every_call_of_a_save_that_fails_leaves_one_of_two_files(tmp_path, monkeypatch, number):
    path = tmp_path / "model.safetensors"
    old, new = cr.MLP([3, 4, 2], seed=1), cr.MLP([3, 4, 2], seed=2)
    old.save(path)
    calls = failing_save(monkeypatch, lambda: new.save(tmp_path / "other"), 0, number)
    assert calls > 10
    before, after = path.read_bytes(), (tmp_path / "other").read_bytes()
    found = []
    for n in range(1, calls + 1):
        old.save(path)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            failing_save(monkeypatch, lambda: new.save(path), n, number)
        assert caught.value.filename == str(path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "other"]
        found.append(path.read_bytes())
    renamed = found.index(after)
    assert found == [before] * renamed + [after] * (calls - renamed), "new once it was renamed"
    assert calls - renamed == 2, "the folder is flushed and closed after that"
