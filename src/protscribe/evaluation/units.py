"""What a bootstrap draws: proteins, partners of pairs, or clusters of related ones, since rows about one protein are not
independent.
"""

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
from protscribe.task import Task

SEARCHED = "mmseqs"
"""What stands for a column's name where clusters are made by a search."""
SHARED = 2
"""Pairs that a partner has in the mean from which on partners are drawn, and not pairs."""
IDENTITY = 0.4
"""From which on two proteins belong to one cluster, where clusters are made."""


def find_units(
    task: Task, records: Sequence[ProteinRecord], clusters: str | None, named: Sequence[Hashable] = ()
) -> tuple[list[int], str]:
    """The number of what each row is drawn with, and what that is called.

    ``clusters``: ``None``, :data:`SEARCHED`, or a column, whose values are then ``named``. Of an ordered pair, what is drawn by
    default is the partner that pairs share. Raises what :func:`protscribe.homology.search` raises.
    """
    if clusters:
        return (searched_clusters(records) if clusters == SEARCHED else numbered(named)), "clusters"
    shared = shared_partners(records) if task.chains == 2 and not task.symmetric else None
    return shared or (proteins(records), "proteins")


def numbered(names: Iterable[Hashable]) -> list[int]:
    """Numbers from 0 for equal things, in the order of their first appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]


def proteins(records: Sequence[ProteinRecord]) -> list[int]:
    """The number of each row's protein, or pair in either order: rows with equal chains are drawn together."""
    return numbered(frozenset(record.chains) for record in records)


def shared_partners(records: Sequence[ProteinRecord]) -> tuple[list[int], str] | None:
    """The number of each pair's partner on the side that has fewer of them, and what they are called; ``None`` where partners
    are not shared: where each has less than :data:`SHARED` pairs in the mean, or there is only one.

    A hundred receptors beside each of ten epitopes say more about receptors than about epitopes: what another ten would have
    given is what an interval must tell.
    """
    sides = [numbered(record.chains[side] for record in records) for side in (0, 1)]
    counts = [max(side) + 1 for side in sides]
    fewer = counts.index(min(counts))
    if counts[fewer] < 2 or len(records) < SHARED * counts[fewer]:
        return None
    return sides[fewer], f"{('first', 'second')[fewer]} partners, each with all of its pairs"


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
