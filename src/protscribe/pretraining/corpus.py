"""The sequences an encoder may learn from: natural ones, without the test proteins of any task and without their relatives.

An encoder that has seen a test protein's family knows it better than it will know a new family, so that every figure on that
test split would be too good. What is held out is therefore taken out of the corpus before pretraining: the sequences
themselves, and all that an MMseqs2 search (Steinegger and Soeding 2017, https://doi.org/10.1038/nbt.3988) finds to be related.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from protscribe.alphabet import RESIDUES, clean
from protscribe.data.readers import open_table
from protscribe.data.reading import ReadOptions
from protscribe.data.source import SPLIT, Source, Split
from protscribe.errors import ConfigError, SequenceError
from protscribe.homology import Criteria, search

log = logging.getLogger(__name__)

STANDARD = RESIDUES[:20]
MOST_RELATIVES = 5000
"""How many relatives of one held-out protein are found: more than a family of the corpus has members."""
CHAINS = ("sequence", "sequence_a", "sequence_b")
"""Roles of a source's columns that hold proteins."""

FindRelatives = Callable[[Sequence[str], Sequence[str]], set[int]]
"""Held-out sequences and corpus sequences to the 0-based numbers of corpus sequences that are related to a held-out one."""


@dataclass(frozen=True)
class Unlabeled:
    """One table of the corpus: ``columns`` hold sequences, and ``where`` keeps the rows whose column has one of the values."""

    path: str
    columns: Sequence[str] = ("sequence",)
    where: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def sequences(self) -> Iterator[str]:
        table = open_table(self.path, ReadOptions(), Counter())
        names = [*self.where, *self.columns]
        for row in table.rows(names):
            if row.error is None and all(
                str(cell).lower() in {str(value).lower() for value in allowed}
                for cell, allowed in zip(row.cells, self.where.values(), strict=False)
            ):
                yield from (str(cell) for cell in row.cells[len(self.where) :] if cell)


@dataclass(frozen=True)
class Corpus:
    """Sequences to learn from and to validate on, and how many were left out, by reason."""

    training: Sequence[str]
    validation: Sequence[str]
    counts: Mapping[str, int]

    def save(self, path: Path, digest: str) -> None:
        splits = ["train"] * len(self.training) + ["validation"] * len(self.validation)
        table = pa.table({"sequence": [*self.training, *self.validation], "split": splits})
        told = {"digest": digest, "counts": json.dumps(dict(self.counts))}
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".partial")
        pq.write_table(table.replace_schema_metadata(told), unfinished, compression="zstd")
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path, digest: str) -> Corpus | None:
        """The corpus of that file, where it is the one that ``digest`` names."""
        if not path.is_file() or (pq.read_schema(path).metadata or {}).get(b"digest") != digest.encode():
            return None
        table = pq.read_table(path)
        parts: dict[str, list[str]] = {"train": [], "validation": []}
        for sequence, split in zip(*(table[name].to_pylist() for name in ("sequence", "split")), strict=True):
            parts[split].append(sequence)
        counts = json.loads(table.schema.metadata[b"counts"])
        return cls(parts["train"], parts["validation"], counts)


@dataclass(frozen=True)
class Recipe:
    """What a corpus is made of.

    ``training`` and ``validation`` are tables; ``shortest`` and ``longest`` bound the lengths of what is kept; at most
    ``unknown_share`` of a sequence may be other letters than the 20 standard residues. Sequences related to a held-out or
    validation sequence at ``identity`` (0..1) over ``coverage`` of either of the two leave the training part.
    """

    training: Sequence[Unlabeled]
    validation: Sequence[Unlabeled]
    shortest: int = 30
    longest: int = 2000
    unknown_share: float = 0.1
    identity: float = 0.4
    coverage: float = 0.5
    sensitivity: float = 5.7

    def digest(self, held_out: Collection[str], more: Collection[str] = ()) -> str:
        """Of the recipe, of the tables' sizes and of the sequences given beside: equal digests mean equal corpora."""
        sizes = [Path(one.path).stat().st_size for one in (*self.training, *self.validation)]
        content = json.dumps(
            [asdict(self), sizes, sorted(held_out), sorted(more)], sort_keys=True, default=list
        )
        return hashlib.sha256(content.encode()).hexdigest()


def make_corpus(
    recipe: Recipe,
    held_out: Collection[str],
    more: Iterable[str] = (),
    find_relatives: FindRelatives | None = None,
) -> Corpus:
    """Reads the tables and takes out what is held out and its relatives.

    ``more`` are sequences to train on beside the tables'. ``find_relatives`` is :func:`search_relatives` with the recipe's
    numbers where it is not given. Held-out sequences shorter than ``recipe.shortest`` are compared as they are, for a
    peptide has no relatives that a search could tell from chance; a corpus sequence that *contains* one is kept. Raises
    :class:`~protscribe.errors.ConfigError` ``config.value`` where nothing is left.
    """
    counts: Counter[str] = Counter()
    held = {_cleaned(sequence) for sequence in held_out}
    unseen = (sequence for table in recipe.validation for sequence in table.sequences())
    validation = _distinct(recipe, unseen, held, counts, "validation: ")
    listed = (sequence for table in recipe.training for sequence in table.sequences())
    training = _distinct(recipe, itertools.chain(listed, more), held | set(validation), counts, "")
    queries = sorted({one for one in held if len(one) >= recipe.shortest} | set(validation), key=_by_length)
    find = find_relatives or (lambda asked, known: search_relatives(asked, known, recipe))
    related = find(queries, training)
    counts["relatives of held-out proteins"] = len(related)
    kept = [sequence for number, sequence in enumerate(training) if number not in related]
    if not kept or not validation:
        raise ConfigError(
            "config.value", f"nothing is left to pretrain on or to validate with: {dict(counts)}"
        )
    counts |= {"sequences": len(kept), "residues": sum(map(len, kept))}
    return Corpus(kept, validation, dict(counts))


def _cleaned(sequence: str) -> str:
    """The sequence as it would stand in a corpus; one that is no protein stands in none."""
    try:
        return clean(sequence).sequence
    except SequenceError:
        return ""


def _by_length(sequence: str) -> tuple[int, str]:
    return len(sequence), sequence


def _distinct(
    recipe: Recipe, sequences: Iterable[str], excluded: set[str], counts: Counter[str], prefix: str
) -> list[str]:
    """The sequences, cleaned, in order, each once and none of the excluded ones."""
    found: dict[str, None] = {}
    for raw in sequences:
        sequence = _cleaned(raw)
        standard = sum(map(sequence.count, STANDARD))
        if not sequence:
            counts[f"{prefix}not a protein"] += 1
        elif not recipe.shortest <= len(sequence) <= recipe.longest:
            counts[f"{prefix}too short or too long"] += 1
        elif standard < (1 - recipe.unknown_share) * len(sequence):
            counts[f"{prefix}too many unknown residues"] += 1
        elif sequence in excluded:
            counts[f"{prefix}held out"] += 1
        elif sequence in found:
            counts[f"{prefix}repeated"] += 1
        else:
            found[sequence] = None
    return list(found)


def split_sequences(sources: Iterable[Source], split: Split, root: str | Path = ".") -> Iterator[str]:
    """Every protein of a split of the sources, as written there. Rows that cannot be read are not looked at."""
    for source in sources:
        if split not in (source.splits or ("train",)):  # a table without splits is all training
            continue
        table = open_table(Path(root) / source.path, ReadOptions(), Counter())
        wanted = set(source.splits.get(split, ()))
        named = [source.columns.get(role, role) for role in CHAINS]
        chains = [column for column in named if column in table.header]
        for row in table.rows([*([source.columns.get(SPLIT, SPLIT)] if wanted else []), *chains]):
            if row.error is None and (not wanted or str(row.cells[0]) in wanted):
                yield from (str(cell) for cell in row.cells[-len(chains) :] if cell)


def search_relatives(queries: Sequence[str], corpus: Sequence[str], recipe: Recipe) -> set[int]:
    """The numbers of the corpus sequences that an MMseqs2 search relates to a query (:func:`protscribe.homology.search`)."""
    criteria = Criteria(recipe.identity, recipe.coverage, recipe.sensitivity, MOST_RELATIVES)
    hits = search(queries, corpus, criteria, "taking out relatives of test proteins")
    return set(hits.targets.tolist())
