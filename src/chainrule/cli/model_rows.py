"""The rows of a table as a trained net takes them, for the commands that use a model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.network import Network
from chainrule.tables.readers import read_table
from chainrule.tables.table import Table

SHOWN = 5  # unseen categories


def read_for(net: Network, source: str, *, target: str | None, need_target: bool) -> Table:
    """The table with the columns that this net was trained on, each read as what it was in training."""
    encoder, names = net.preparation.encoder, net.preparation.feature_names
    if encoder is None:
        return read_table(source, target=target, feature_names=names, need_target=need_target)
    return read_table(
        source, target=target, feature_names=encoder.table_names, need_target=need_target, kinds=encoder.kinds
    )


def matrix_for(net: Network, table: Table, say: Callable[[str, str], None]) -> np.ndarray:
    """X (n, n_in) before standardisation; what the training did not know is said."""
    for note in table.notes:
        say("note", note)
    encoder = net.preparation.encoder
    if encoder is None:
        return table.features
    if table.matrix is not None:
        texts = [name for name, kind in encoder.kinds.items() if kind == "category"]
        if texts:
            raise DataError(f"{table.source} has no names; the model has columns of text: {texts[0]!r:.60}")
        return encoder.encode(dict(zip(encoder.table_names, table.matrix.T.astype(np.float64), strict=True)))
    for name, unseen in encoder.unseen(table.columns).items():
        shown = ", ".join(map(repr, unseen[:SHOWN])) + (f" and {len(unseen) - SHOWN} more" * (len(unseen) > SHOWN))
        say("note", f"column {name!r}: no column of its own in the model for {shown}")
    return encoder.encode(table.columns)
