"""Groups of related sequences, and splits that keep each group whole. Standard library and the MMseqs2 program.

Imported by build_demo_data.py.
"""

from __future__ import annotations

import itertools
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path

SPLITS = ("train", "validation", "test")


def components(items: Sequence[Hashable], links: Iterable[tuple[Hashable, Hashable]]) -> dict[Hashable, int]:
    """The connected component of each item, numbered in order of first appearance (single linkage)."""
    parent = {item: item for item in items}

    def root(item: Hashable) -> Hashable:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, other in links:
        parent[root(one)] = root(other)
    numbers: dict[Hashable, int] = {}
    return {item: numbers.setdefault(root(item), len(numbers)) for item in items}


def homology_links(sequences: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs that an all-against-all MMseqs2 search finds at 40% identity over half of either sequence (E at most 0.001)."""
    command = shutil.which("mmseqs")
    if command is None:
        sys.exit(
            "no `mmseqs` program on PATH: install MMseqs2 (apt-get install mmseqs2), then run this again"
        )
    options = "--min-seq-id 0.4 -c 0.5 --cov-mode 2 -s 5.7 --max-seqs 2000 --format-output query,target -v 1"
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder, "sequences.fasta")
        fasta.write_text("".join(f">{index}\n{sequence}\n" for index, sequence in enumerate(sequences)))
        files = [str(fasta), str(fasta), f"{folder}/hits.tsv", f"{folder}/scratch"]
        subprocess.run([command, "easy-search", *files, *options.split()], check=True)
        lines = Path(folder, "hits.tsv").read_text().split("\n")
    pairs = (line.split("\t") for line in lines if line)
    return [(sequences[int(one)], sequences[int(other)]) for one, other in pairs]


def shared_word_links(sequences: Sequence[str], size: int, share: float) -> Iterator[tuple[str, str]]:
    """Links between sequences that share at least ``share`` of the shorter one's distinct words of ``size`` letters."""
    words = {s: {s[i : i + size] for i in range(len(s) - size + 1)} or {s} for s in sequences}
    holders = defaultdict(list)
    for sequence in sequences:
        for word in sorted(words[sequence]):
            holders[word].append(sequence)
    for sequence in sequences:
        shared = Counter(other for word in words[sequence] for other in holders[word] if other > sequence)
        for other, count in shared.items():
            if count >= share * min(len(words[sequence]), len(words[other])):
                yield sequence, other


def near_peptide_links(peptides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Links between peptides that share a run of 8 residues, or have one length and differ in at most 2 places."""
    first: dict[Hashable, str] = {}
    for peptide in peptides:
        size = len(peptide)
        keys: list[Hashable] = [peptide[i : i + 8] for i in range(size - 7)]
        for one, other in itertools.combinations(range(size), 2):
            keys.append((size, one, other, peptide[:one] + peptide[one + 1 : other] + peptide[other + 1 :]))
        for key in keys:
            yield first.setdefault(key, peptide), peptide


def split_by_group(
    groups: Sequence[Hashable], classes: Sequence[str], shares: Sequence[float], random_: random.Random
) -> list[str]:
    """A split for each row so that no group is in two: whole groups, shuffled, fill test, then validation, then train.

    ``shares`` (train, validation, test) hold for each of the ``classes``. A group that is larger than half of what a
    held-out split takes of a class goes to train, so that no family makes up a test set.
    """
    contents: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for group, class_ in zip(groups, classes, strict=True):
        contents[group][class_] += 1
    whole = Counter(classes)
    quotas = {
        name: {c: round(share * whole[c]) for c in whole} for name, share in zip(SPLITS, shares, strict=True)
    }
    room = {name: dict(quota) for name, quota in quotas.items()}
    order = list(contents)
    random_.shuffle(order)
    place: dict[Hashable, str] = {}
    for group in order:
        sizes = contents[group]
        place[group] = "train"
        for name in ("test", "validation"):
            if all(size <= room[name][c] and 2 * size <= quotas[name][c] for c, size in sizes.items()):
                place[group] = name
                for class_, size in sizes.items():
                    room[name][class_] -= size
                break
    return [place[group] for group in groups]
