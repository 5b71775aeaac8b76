"""What every error message must be."""

from __future__ import annotations

from chainrule.errors import DataError, OptionError


def check_message(error: DataError | OptionError, *parts: str) -> None:
    """One line that holds these parts; the hint may hold them too."""
    assert "\n" not in error.message
    for part in parts:
        assert part in str(error), (part, str(error))
