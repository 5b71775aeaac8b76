"""Where on this host lies what is only faster to keep: choices of algorithms, compiled loops."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path | None:
    """``$CHAINRULE_CACHE_DIR``, else ``$XDG_CACHE_HOME/chainrule``, else ``~/.cache/chainrule``.

    None for a user without a home.
    """
    own, xdg = os.environ.get("CHAINRULE_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    if xdg and Path(xdg).is_absolute():  # the standard has a relative one ignored
        return Path(xdg) / "chainrule"
    try:
        return Path.home() / ".cache" / "chainrule"
    except RuntimeError:  # a user id that no one has given a name, as in many containers
        return None
