"""The choices made so far, on disk: a line of text each, by a key that says for what."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Final

from chainrule.errors import first_line

FILE_NAME: Final = "products-1.json"  # the number is that of the format

_log = logging.getLogger(__name__)


class ChoiceFile:
    """``{key: choice}``, both text, in JSON. Never raises for what is on the disk.

    Processes may share it. Each writes a whole new file and moves it into place, so that none reads half of one. Of two
    that choose for the same key the first to write wins; of two that write in the same instant one may be lost, and is
    chosen again some other time.
    """

    def __init__(self, directory: Path | None) -> None:
        self.path = None if directory is None else directory / FILE_NAME
        self._complained = False

    def read(self) -> dict[str, str]:
        """What is on the disk; nothing if that is no such file."""
        if self.path is None:
            return {}
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:  # no permission, half a file, not text, not JSON
            self._complain("not read", error)
            return {}
        if not isinstance(content, dict):
            return {}
        return {key: value for key, value in content.items() if isinstance(value, str)}

    def get(self, key: str) -> str | None:
        """What was chosen for ``key``."""
        return self.read().get(key)

    def put(self, key: str, choice: str) -> None:
        """Add a choice to those on the disk."""
        if self.path is None:
            return
        choices = {**self.read(), key: choice}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=self.path.parent, prefix=FILE_NAME, suffix=".tmp")
            try:
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    json.dump(choices, file, indent=0, sort_keys=True)
                Path(name).replace(self.path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            self._complain("not written", error)

    def _complain(self, what: str, error: Exception) -> None:
        """Once, on one line: it matters only to a user who wonders why each run times its products."""
        if not self._complained:
            self._complained = True
            _log.warning("choices of algorithms were %s (%s): %s", what, self.path, first_line(error))
