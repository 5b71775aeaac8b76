"""The options that say what a table means and which of its rows are held out."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.cli.options.parser import Listed, OptionGroup
from chainrule.cli.options.types import column_names, held_out, positive_int, source
from chainrule.nn.columns.category_columns import MAX_CATEGORIES
from chainrule.nn.columns.table_columns import MAX_VECTORS

TASKS = ("auto", "classify", "regress")
FRACTION = 0.2  # held out by default


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """As typed; ``valid`` is a fraction of the rows, or another table."""

    data: str | None
    target: str | None
    task: str
    drop: list[str]
    categorical: list[str]
    max_categories: int | None
    embed_above: int | None
    valid: float | str | None
    group: str | None
    time: str | None


def add_arguments(parser: OptionGroup, *, other_table: bool = True) -> None:
    """The options that say what a table means; with ``other_table`` one may be validated on."""
    add = parser.add_argument
    add("data", type=source, nargs="?", metavar="DATA", help="a table (.csv, .parquet, .npy, ...), or `digits`")
    add("--target", metavar="COLUMN", help="the column to predict (CSV), or the array (npz: y)")
    add("--task", choices=TASKS, default="auto", help="the kind of target (auto: inferred from its values)")
    add("--drop", type=column_names, action=Listed, extend=True, metavar="A,B", help="columns to leave out")
    add(
        "--categorical",
        type=column_names,
        action=Listed,
        extend=True,
        metavar="A,B",
        help="columns whose numbers are names of categories: postcodes, codes",
    )
    add(
        "--max-categories",
        type=positive_int,
        metavar="N",
        help=f"columns of X per text column; rarer categories share one ({MAX_CATEGORIES}; with --embed-above "
        f"{MAX_VECTORS:,} vectors)",
    )
    add(
        "--embed-above",
        type=positive_int,
        metavar="N",
        help="learn a vector for each category of columns with more than N of them (none)",
    )
    add(
        "--valid",
        type=held_out,
        metavar="X",
        help=f"fraction of the rows to hold out{', or a file' * other_table}; 0: none "
        "(0, as members of a preset leave out rows; "
        f"{FRACTION} with --preset none, --patience, --monitor or --metrics)",
    )
    add(
        "--group",
        metavar="COLUMN",
        help="rows with the same cell in this column stay together: whole groups are held out, or left out by members; "
        "the column is not used as a feature",
    )
    add(
        "--time",
        metavar="COLUMN",
        help="hold out, or leave out, the latest rows by this column, numbers or ISO dates; the column is not "
        "used as a feature",
    )
