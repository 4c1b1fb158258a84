"""What a bootstrap draws: proteins, or clusters of related ones, since rows about one protein are not independent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

from protscribe.data.readers import open_table
from protscribe.data.reading import ReadOptions
from protscribe.data.source import Source, plain_text
from protscribe.data.tables import missing_column
from protscribe.errors import TableError, Where
from protscribe.homology import Criteria
from protscribe.records import ProteinRecord

SEARCHED = "mmseqs"
"""What stands for a column's name where clusters are made by a search."""
IDENTITY = 0.4
"""From which on two proteins belong to one cluster, where clusters are made."""


def numbered(names: Iterable[Hashable]) -> list[int]:
    """Numbers from 0 for equal things, in the order of their first appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]


def proteins(records: Sequence[ProteinRecord]) -> list[int]:
    """The number of each row's protein, or pair in either order: rows with equal chains are drawn together."""
    return numbered(frozenset(record.chains) for record in records)


def searched_clusters(records: Sequence[ProteinRecord]) -> list[int]:
    """Clusters by MMseqs2 at 40% identity, of pairs both proteins' joined.

    Raises what :func:`protscribe.homology.search` raises.
    """
    from protscribe.splits.clusters import find_clusters

    chains = sorted({chain for record in records for chain in record.chains})
    clusters = dict(zip(chains, find_clusters(chains, Criteria(identity=IDENTITY)).tolist(), strict=True))
    return numbered(frozenset(clusters[chain] for chain in record.chains) for record in records)


def column_values(source: Source, column: str, root: str | Path) -> dict[int, str]:
    """What stands in a column, by the 0-based number of the row.

    Raises :class:`~protscribe.errors.TableError` ``table.missing_column``, also for a source that is no table.
    """
    if source.is_fasta:
        raise TableError(
            "table.missing_column", f"a FASTA file has no column {column!r}", Where(file=source.path)
        )
    table = open_table(Path(root) / source.path, ReadOptions(), Counter())
    if column not in table.header:
        raise missing_column(column, table, "clusters")
    rows = table.rows([column])
    return {row.number - 1: plain_text(row.cells[0]) for row in rows if row.error is None}
