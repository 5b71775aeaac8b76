"""New rows as a trained net takes them, for the commands that use a model."""

from __future__ import annotations

import numpy as np

from chainrule.cli.console import output
from chainrule.nn.columns.category_columns import EmbeddedColumn
from chainrule.nn.inputs.preparation import Preparation
from chainrule.tables.table import Table

SHOWN = 5  # unseen categories


def matrix_for(preparation: Preparation, table: Table) -> np.ndarray:
    """X (n, n_in) before standardisation; notes say what the reader assumed and which categories are unknown."""
    for note in table.notes:
        output.say("note", note)
    encoder = preparation.encoder
    columns = () if encoder is None else encoder.columns
    embedded = {column.name for column in columns if isinstance(column, EmbeddedColumn)}
    for name, unseen in ({} if encoder is None or not table.columns else encoder.unseen(table.columns)).items():
        shown = ", ".join(f"{text!r:.60}" for text in unseen[:SHOWN])
        more = f" and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
        own = "vector" if name in embedded else "column"
        output.say(
            "note", f"column {name!r:.60}: the model has no {own} for {shown}{more}, which count as rare or average"
        )
    return preparation.encode(table, compact=True)
