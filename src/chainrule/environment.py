"""Environment variables of the backends: switches, and the cache directory."""

from __future__ import annotations

import os
from pathlib import Path

from chainrule.errors import OptionError


def switch(name: str) -> str:
    """The value of an environment variable: "0", "1", or "" if it is not set; OptionError for another value."""
    value = os.environ.get(name, "")
    if value not in {"", "0", "1"}:
        raise OptionError(f"{name}: expected 0 or 1, got {value!r}", hint=f"unset {name} for the default")
    return value


def cache_directory() -> Path | None:
    """``$CHAINRULE_CACHE_DIR``, else ``$XDG_CACHE_HOME/chainrule``, else ``~/.cache/chainrule``.

    None for a user without a home directory.
    """
    own, xdg = os.environ.get("CHAINRULE_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    if xdg and Path(xdg).is_absolute():  # the standard ignores a relative one
        return Path(xdg) / "chainrule"
    try:
        return Path.home() / ".cache" / "chainrule"
    except RuntimeError:  # a user id without a name, as in many containers
        return None
