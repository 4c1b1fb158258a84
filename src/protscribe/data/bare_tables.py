"""The source of a table that nobody described: its columns have the names of their roles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from protscribe.data.readers import open_table
from protscribe.data.reading import ReadOptions
from protscribe.data.source import SPLIT, Source, Split

SPLIT_NAMES: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""What people write into a column named ``split``."""


def table_source(path: str, task: str) -> Source:
    """The source of a table that needs no description: its columns have the names of their roles.

    A column ``split`` is used where there is one; its values may be any of :data:`SPLIT_NAMES`.
    """
    table = open_table(path, ReadOptions(), Counter())
    splits: dict[str, tuple[str, ...]] = {}
    if SPLIT in table.header:
        written = {row.cells[0] for row in table.rows([SPLIT]) if row.error is None}
        for split, names in SPLIT_NAMES.items():
            if found := tuple(name for name in names if name in written):
                splits[split] = found
    return Source(name=path, path=path, task=task, splits=splits)
