"""Labels that stand above others, as the terms of an ontology do: what a label set implies, and what its probabilities do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from protscribe.data.readers import open_table
from protscribe.data.reading import ReadOptions
from protscribe.data.tables import missing_column

PARENT, CHILD = "parent", "child"


@dataclass(frozen=True)
class Hierarchy:
    """A directed graph without circles: ``parents`` of each label that has any. What ``known`` does not hold is left out.

    The roots of the Gene Ontology's aspects, for example, stand above everything and are no labels of a task.
    """

    parents: Mapping[str, tuple[str, ...]] = field(repr=False)
    known: frozenset[str] = field(repr=False, default=frozenset())

    @cached_property
    def _above(self) -> dict[str, frozenset[str]]:
        return {}

    def above(self, label: str) -> frozenset[str]:
        """A label and all above it, of those that are known; a circle ends where it began."""
        if label not in self._above:
            found, rest = {label}, [label]
            while rest:
                for parent in self.parents.get(rest.pop(), ()):
                    if parent not in found:
                        found.add(parent)
                        rest.append(parent)
            self._above[label] = frozenset(found & self.known | {label} if self.known else found)
        return self._above[label]

    def closed(self, labels: Iterable[str]) -> set[str]:
        """Labels with all above them."""
        return set().union(*map(self.above, labels))

    def raised(self, chances: Mapping[str, float]) -> dict[str, float]:
        """Probabilities in which no label is less probable than one below it."""
        found = dict(chances)
        for label, chance in chances.items():
            for node in self.above(label):
                found[node] = max(found.get(node, 0.0), chance)
        return found

    def among(self, labels: Iterable[str]) -> Hierarchy:
        """The same, with only these labels known; what stands between two of them still joins them."""
        return Hierarchy(self.parents, frozenset(labels))


def read_hierarchy(path: str | Path) -> Hierarchy:
    """A table with a column ``parent`` and a column ``child``, one line a relation.

    Raises :class:`~protscribe.errors.TableError` ``table.missing_column`` and what opening a table raises.
    """
    table = open_table(Path(path), ReadOptions(), Counter())
    for column in (PARENT, CHILD):
        if column not in table.header:
            raise missing_column(column, table, column)
    parents: dict[str, list[str]] = {}
    for row in table.rows([PARENT, CHILD]):
        if row.error is not None:
            raise row.error
        parent, child = map(str, row.cells)
        parents.setdefault(child, []).append(parent)
    return Hierarchy({child: tuple(above) for child, above in parents.items()})
