"""The targets by name: what ``python -m fuzzing`` fuzzes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuzzing.array_files import Archives, ArrayFiles
from fuzzing.option_files import OptionFiles
from fuzzing.sealed_files import CheckpointFiles, ModelFiles
from fuzzing.targets import Target
from fuzzing.text_tables import TextTables
from fuzzing.typed_tables import ArrowFiles, ParquetFiles

TARGETS: dict[str, Callable[[Path], Target]] = {
    "model": ModelFiles,
    "checkpoint": CheckpointFiles,
    "csv": TextTables,
    "npy": ArrayFiles,
    "npz": Archives,
    "arrow": ArrowFiles,
    "parquet": ParquetFiles,
    "toml": OptionFiles,
}
