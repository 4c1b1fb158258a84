"""A file cut into training, validation and test rows. What ``protscribe split`` calls; a Python function like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protscribe.data.readers import read_records
from protscribe.data.reading import OnError
from protscribe.errors import ConfigError, InputError, Where
from protscribe.homology import COVERAGE, SENSITIVITY, Criteria
from protscribe.records import Failure, ProteinRecord
from protscribe.splits.clusters import SPLITS, Integers, check_fractions, find_clusters, share_clusters
from protscribe.splits.pairs import CLASSES, UNUSED, split_pairs
from protscribe.splits.table import OPTIONS, check_files, header_of, write_with

FRACTIONS: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
MOST_RELATIVES = 1000
ORDER = (*SPLITS, *reversed(CLASSES), UNUSED)
"""All values that the column can have, in the order in which they are told."""


@dataclass(frozen=True)
class SplitResult:
    """What was done: rows by split, the number of clusters, the rows of the largest one, and the rows that were rejected.

    ``chains`` are those of each written row, and ``splits`` the value of its new column. For pairs, ``largest`` counts
    proteins instead of rows.
    """

    splits: Sequence[str]
    chains: Sequence[Sequence[str]]
    clusters: int
    largest: int
    wanted: Mapping[str, float]
    failures: tuple[Failure, ...] = field(default=(), repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows each split has, in a fixed order, without those that have none."""
        counted = Counter(self.splits)
        return {name: counted[name] for name in ORDER if counted[name]}

    def rows_of(self, *names: str) -> list[Sequence[str]]:
        """The chains of the rows of some splits; ``"test"`` names the three classes of test pairs too."""
        return [
            chains
            for chains, split in zip(self.chains, self.splits, strict=True)
            if split in names or ("test" in names and split in CLASSES)
        ]

    def to_text(self) -> str:
        """For people: how many rows each split has, and what was wanted."""
        total = len(self.splits)
        pairs = any(len(one) == 2 for one in self.chains)
        lines = []
        for name, count in self.counts.items():
            asked = f" (asked: {self.wanted[name]:.1%})" if name in self.wanted and not pairs else ""
            lines.append(f"{name}: {count:,} rows, {count / total:.1%}{asked}")
        unit = "proteins" if pairs else "rows"
        lines.append(f"{self.clusters:,} clusters; the largest has {self.largest:,} {unit}")
        return "\n".join(lines)


def split_file(
    input: str,
    output: str,
    *,
    identity: float = 0.4,
    coverage: float = COVERAGE,
    sensitivity: float = SENSITIVITY,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    column: str = "split",
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "raise",
) -> SplitResult:
    """Writes a table again with a column of splits, so that no protein of one split has a relative in another.

    Parameters
    ----------
    input: a table (CSV, TSV, Parquet) or FASTA. output: a table; that of a FASTA file has the columns ``id`` and ``sequence``.
    identity, coverage, sensitivity: when two proteins are related (:class:`~protscribe.homology.Criteria`). Whoever is
        connected by a chain of relatives is of one cluster, and a cluster is of one split.
    fractions: of the rows, by split; for pairs, of the proteins. Splits come as near as the clusters allow.
    column: the name of the new column, beside which stands ``cluster`` (``cluster_a`` and ``cluster_b`` of pairs), a number.
    columns: which columns hold ``sequence``, or ``sequence_a`` and ``sequence_b``. on_error: ``"collect"`` leaves rows out
        whose protein cannot be read, and returns them as failures.

    Pairs are split by protein: ``train``, ``validation`` and ``test_c1``, ``test_c2``, ``test_c3`` with two, one and no
    protein known from training (:func:`~protscribe.splits.pairs.split_pairs`).

    The same input, settings and seed give the same split. Needs the extra ``homology``. Raises
    :class:`~protscribe.errors.ConfigError` ``config.value`` or ``config.missing``,
    :class:`~protscribe.errors.InputError` and :class:`~protscribe.errors.OutputError`.
    """
    criteria = Criteria(identity, coverage, sensitivity, MOST_RELATIVES)
    wanted = check_fractions(fractions)
    check_files(input, output)
    records, failures = _read(input, columns, on_error)
    pairs = len(records[0].chains) == 2
    beside = ("cluster_a", "cluster_b") if pairs else ("cluster",)
    for name in {column, *beside} & set(header_of(input)):
        raise ConfigError(
            "config.value", f"the table has a column {name!r} already; rename it, or give column=NAME"
        )
    chains = [chain for record in records for chain in record.chains]
    clusters = find_clusters(chains, criteria)
    shares = [wanted[name] for name in SPLITS]
    splits, largest = (_by_protein if pairs else _by_row)(chains, clusters, shares, seed)
    by_row = clusters.reshape(len(records), -1)
    new: dict[str, Sequence[Any]] = {column: splits}
    new |= {name: (by_row[:, place] + 1).tolist() for place, name in enumerate(beside)}
    write_with(input, output, records, new)
    return SplitResult(
        splits, [record.chains for record in records], int(clusters.max()) + 1, largest, wanted, failures
    )


def _read(
    input: str, columns: Mapping[str, str] | None, on_error: OnError
) -> tuple[list[ProteinRecord], tuple[Failure, ...]]:
    roles = {
        role: name
        for role, name in (columns or {}).items()
        if role in ("id", "sequence", "sequence_a", "sequence_b")
    }
    reading = read_records(input, columns=roles or None, fields=(), on_error=on_error, options=OPTIONS)
    records = list(reading)
    if not records:
        raise InputError("input.empty", "no protein of this file can be used", Where(file=input))
    return records, tuple(reading.failures)


def _by_row(
    chains: Sequence[str], clusters: Integers, shares: Sequence[float], seed: int
) -> tuple[list[str], int]:
    """The split of each row, and the rows of the largest cluster."""
    sizes = np.bincount(clusters)
    groups = share_clusters(sizes, shares, seed)
    return [SPLITS[group] for group in groups[clusters]], int(sizes.max())


def _by_protein(
    chains: Sequence[str], clusters: Integers, shares: Sequence[float], seed: int
) -> tuple[list[str], int]:
    """The split of each pair, whose chains stand one after the other, and the proteins of the largest cluster."""
    first = {chain: place for place, chain in enumerate(chains)}
    sizes = np.bincount(clusters[list(first.values())], minlength=int(clusters.max()) + 1)
    groups = share_clusters(sizes, shares, seed)
    return split_pairs(clusters.reshape(-1, 2), groups, shares[SPLITS.index("test")], seed), int(sizes.max())
