"""What an encoder knows of the columns of a table, for reading such a table again."""

from __future__ import annotations

from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.tables.selection import Selection


def known_columns(encoder: TableEncoder) -> Selection:
    """The columns that the encoder was fitted on, by name, each as what it was."""
    return Selection(
        feature_names=encoder.table_names,
        need_target=False,
        kinds=encoder.kinds,
        texts=encoder.texts,
        notations=encoder.notations,
        learned=True,
    )
