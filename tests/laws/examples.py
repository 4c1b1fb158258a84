"""Codecs of every kind with records and answers, for the laws and for the tests of other rooms.

``EXAMPLES`` are written by hand: by kind, (codec, record, answers). ``STRATEGIES`` draw (codec, record, answer)
with hypothesis. ``SMALL`` are (codec, record) whose answers can all be listed. All three cover every kind; a
test holds that.
"""

import string
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import strategies as st

from protscribe.codecs.category import Category
from protscribe.codecs.category_path import CategoryPath
from protscribe.codecs.category_set import CategorySet
from protscribe.codecs.number import Number
from protscribe.codecs.residue_labels import ResidueLabels
from protscribe.codecs.residue_pairs import ResiduePairs
from protscribe.codecs.residue_set import ResidueSet
from protscribe.codecs.segments import Segment, Segments
from protscribe.codecs.sequence import SequenceText
from protscribe.records import ProteinRecord

BLOCK = "answer"
PROTEIN = ProteinRecord("protein", ("MKTSYAYSTK",))
PAIR = ProteinRecord("pair", ("MKTSYAYSTK", "GSYGT"))
RESIDUE = ProteinRecord("residue", ("S",))
SHORT = ProteinRecord("short", ("SAY",))
SHORT_PAIR = ProteinRecord("short pair", ("SA", "YST"))
ENZYMES = ("1.1.1.1", "1.1.1.10", "1.1.1.2", "1.2.1.n1", "2.7.11.1", "10.1.1.1")
TREE = ("1.1", "1.2", "2.1.1", "3")


class Example(NamedTuple):
    codec: Any
    record: ProteinRecord
    answers: tuple


EXAMPLES = {
    "category": [Example(Category(("no", "yes"), block=BLOCK), PROTEIN, ("no", "yes"))],
    "category_set": [
        Example(
            CategorySet(("nucleus", "cytoplasm", "membrane"), block=BLOCK),
            PROTEIN,
            ((), ("membrane",), ("nucleus", "cytoplasm"), ("membrane", "nucleus")),
        ),
        Example(
            CategorySet(("a", "b", "c", "d"), least=1, most=2, block=BLOCK), PROTEIN, (("d",), ("a", "c"))
        ),
    ],
    "category_path": [
        Example(
            CategoryPath(ENZYMES, block=BLOCK),
            PROTEIN,
            (("1.1.1.1",), ("10.1.1.1", "1.1.1.2"), ("1.1.1.1", "1.1.1.10", "2.7.11.1")),
        ),
        Example(
            CategoryPath(ENZYMES, partial=True, least=0, block=BLOCK),
            PROTEIN,
            ((), ("1.1.-.-",), ("2",), ("1.1", "1.1.1.2"), ("1.2.1", "10.1.1.1")),
        ),
    ],
    "number": [
        Example(Number(-2.0, 8.0, 0.01, block="digit", depth=4), PROTEIN, (-2.0, 0.0, 3.14, 8.0, 2.71828)),
        Example(Number(0.0, 100.0, 0.5, unit="°C", depth=3), PROTEIN, (0, 37.2, 100)),
    ],
    "residue_labels": [
        Example(ResidueLabels("HEC", block=BLOCK), PROTEIN, ("HHHHHEEEEC", "C" * 10, "--HEEEC---")),
        Example(ResidueLabels("01", unscored="", chain=2, block=BLOCK), PAIR, ("01100",)),
        Example(ResidueLabels("HEC", block=BLOCK), RESIDUE, ("E",)),
    ],
    "residue_set": [
        Example(ResidueSet(), PROTEIN, ((), (1, 10), (4, 3, 4), tuple(range(1, 11)))),
        Example(ResidueSet("STY", most=3), PROTEIN, ((), (4,), (9, 5, 7))),
        Example(ResidueSet("STY", chain=2), PAIR, ((2, 3, 5),)),
        Example(ResidueSet("W"), PROTEIN, ((),)),
        Example(ResidueSet(written="marks"), PROTEIN, ((), (1, 10), (4, 3, 4), tuple(range(1, 11)))),
        Example(ResidueSet(chain=2, written="marks"), PAIR, ((2, 3, 5),)),
        Example(ResidueSet("STY", written="marks"), PROTEIN, ((), (4,), (9, 5, 7))),
        Example(ResidueSet("STY", chain=2, written="marks"), PAIR, ((2, 3, 5),)),
        Example(ResidueSet("W", written="marks"), PROTEIN, ((),)),
    ],
    "segments": [
        Example(
            Segments(("signal", "mature"), most=2, block=BLOCK),
            PROTEIN,
            ((Segment("signal", 1, 3), Segment("mature", 4, 10)), (Segment("mature", 1, 10),)),
        ),
        Example(
            Segments(("i", "m", "o"), block=BLOCK),
            PROTEIN,
            ((Segment("i", 1, 2), Segment("m", 3, 5), Segment("m", 6, 6), Segment("i", 7, 10)),),
        ),
    ],
    "residue_pairs": [
        Example(ResiduePairs(separation=3), PROTEIN, ((), ((1, 4),), ((5, 9), (1, 10), (5, 8)))),
        Example(ResiduePairs(between=True), PAIR, ((), ((1, 1), (10, 5), (3, 2)))),
        Example(ResiduePairs(), RESIDUE, ((),)),
    ],
    "sequence": [
        Example(SequenceText("acdvp", block=BLOCK), PROTEIN, ("acdvpacdvp", "d" * 10)),
        Example(
            SequenceText(("s1", "s2", "s30"), length="free", most=4, block=BLOCK),
            PROTEIN,
            ("", "s1", "s30 s2 s2 s1"),
        ),
        Example(SequenceText("AC", length="free", least=1, most=5, block=BLOCK), PROTEIN, ("A", "CACAC")),
    ],
}

residues = st.text("ACDEFGHIKLMNPQRSTVWY", min_size=1, max_size=40)
texts = st.text(string.ascii_letters + string.digits + " -_/()", min_size=1, max_size=6)
records = st.builds(
    lambda chains: ProteinRecord("drawn", tuple(chains)), st.lists(residues, min_size=2, max_size=2)
)


def labels(least=2, most=6, of=texts):
    return st.lists(of, min_size=least, max_size=most, unique=True).map(tuple)


@st.composite
def categories(draw):
    codec = Category(draw(labels()), block=BLOCK)
    return codec, draw(records), draw(st.sampled_from(codec.labels))


@st.composite
def category_sets(draw):
    names = draw(labels())
    least = draw(st.integers(0, len(names)))
    most = draw(st.sampled_from([0, *range(max(least, 1), len(names) + 1)]))
    answer = draw(st.lists(st.sampled_from(names), min_size=least, max_size=most or len(names), unique=True))
    return CategorySet(names, least=least, most=most, block=BLOCK), draw(records), tuple(answer)


levels = st.sampled_from(["1", "2", "3", "10", "n1", "a"])
paths = st.lists(levels, min_size=1, max_size=4).map(".".join)


@st.composite
def category_paths(draw):
    known = draw(st.lists(paths, min_size=2, max_size=12, unique=True))
    split = [tuple(path.split(".")) for path in known]
    nodes = sorted({path[:depth] for path in split for depth in range(1, len(path) + 1)})
    partial = draw(st.booleans())
    inner = {node[:depth] for node in nodes for depth in range(1, len(node))}
    ends = [node for node in nodes if partial or node not in inner]
    least = draw(st.integers(0, 1))
    answer = draw(st.lists(st.sampled_from(ends), min_size=least, max_size=8, unique=True))
    codec = CategoryPath(tuple(known), partial=partial, least=least, most=8, block=BLOCK)
    return codec, draw(records), tuple(".".join(node) for node in answer)


@st.composite
def numbers(draw):
    step = draw(st.sampled_from([0.001, 0.01, 0.5, 1.0, 3.0, 0.35, 7e-5]))
    low = draw(st.integers(-1000, 1000)) * step
    high = low + draw(st.integers(10, 10**5)) * step * draw(st.sampled_from([1, 1.003]))
    answer = draw(st.floats(low, high))
    return Number(low, high, step, depth=draw(st.integers(1, 3))), draw(records), answer


characters = st.sampled_from(string.ascii_letters + string.digits)


@st.composite
def residue_labels(draw):
    codec = ResidueLabels(draw(labels(of=characters)), chain=draw(st.sampled_from([1, 2])), block=BLOCK)
    record = draw(records)
    length = record.lengths[codec.chain - 1]
    answer = draw(st.text(st.sampled_from([*codec.labels, "-"]), min_size=length, max_size=length))
    return codec, record, answer


@st.composite
def residue_sets(draw):
    letters, chain = draw(st.sampled_from(["", "STY", "K"])), draw(st.sampled_from([1, 2]))
    codec = ResidueSet(letters, chain, written=draw(st.sampled_from(["pointers", "marks"])))
    record = draw(records)
    residues = record.chains[codec.chain - 1]
    candidates = [
        i
        for i, residue in enumerate(residues, start=1)
        if not codec.candidates or residue in codec.candidates
    ]
    answer = draw(st.lists(st.sampled_from(candidates)) if candidates else st.just([]))
    return codec, record, tuple(answer)


@st.composite
def segmentations(draw):
    codec = Segments(
        draw(labels(of=texts.filter(str.isalnum))), chain=draw(st.sampled_from([1, 2])), block=BLOCK
    )
    record = draw(records)
    length = record.lengths[codec.chain - 1]
    inner = sorted(draw(st.sets(st.integers(1, length - 1)))) if length > 1 else []
    bounds = [0, *inner, length]
    answer = [Segment(draw(st.sampled_from(codec.labels)), start + 1, end) for start, end in pairwise(bounds)]
    most = draw(st.sampled_from([0, len(answer)]))
    written = "pointers" if most else draw(st.sampled_from(["pointers", "labels"]))
    return Segments(codec.labels, codec.chain, most, BLOCK, written), record, tuple(answer)


@st.composite
def residue_pairs(draw):
    record = draw(records)
    if draw(st.booleans()):
        codec = ResiduePairs(between=True)
        cells = [(i, j) for i in range(1, record.lengths[0] + 1) for j in range(1, record.lengths[1] + 1)]
    else:
        codec = ResiduePairs(separation=draw(st.integers(1, 6)))
        length = record.lengths[0]
        cells = [(i, j) for i in range(1, length + 1) for j in range(i + codec.separation, length + 1)]
    most = int(codec.most_per_residue * sum(record.lengths[: codec.chains]))
    answer = draw(st.lists(st.sampled_from(cells), max_size=min(most, 40)) if cells else st.just([]))
    return codec, record, tuple(answer)


@st.composite
def sequences(draw):
    alphabet = draw(st.one_of(labels(of=characters), labels(of=texts.filter(str.isalnum))))
    gap = "" if all(len(token) == 1 for token in alphabet) else " "
    record = draw(records)
    if draw(st.booleans()):
        codec = SequenceText(alphabet, block=BLOCK)
        least = most = record.lengths[0]
    else:
        least = draw(st.integers(0, 5))
        most = draw(st.integers(max(least, 1), 20))
        codec = SequenceText(alphabet, length="free", least=least, most=most, block=BLOCK)
    tokens = draw(st.lists(st.sampled_from(alphabet), min_size=least, max_size=most))
    return codec, record, gap.join(tokens)


STRATEGIES = {
    "category": categories(),
    "category_set": category_sets(),
    "category_path": category_paths(),
    "number": numbers(),
    "residue_labels": residue_labels(),
    "residue_set": residue_sets(),
    "segments": segmentations(),
    "residue_pairs": residue_pairs(),
    "sequence": sequences(),
}

SMALL = {
    "category": [(Category(("a", "b", "c"), block=BLOCK), SHORT)],
    "category_set": [
        (CategorySet(("a", "b", "c"), block=BLOCK), SHORT),
        (CategorySet(("a", "b", "c", "d"), least=1, block=BLOCK), SHORT),
        (CategorySet(("a", "b", "c", "d"), least=1, most=2, block=BLOCK), SHORT),
        (CategorySet(("a", "b", "c"), least=2, most=2, block=BLOCK), SHORT),
    ],
    "category_path": [
        (CategoryPath(TREE, block=BLOCK), SHORT),
        (CategoryPath(TREE, least=0, block=BLOCK), SHORT),
        (CategoryPath(TREE, most=1, block=BLOCK), SHORT),
        (CategoryPath(TREE, least=0, partial=True, block=BLOCK), SHORT),
        (CategoryPath(TREE, least=1, partial=True, block=BLOCK), SHORT),
    ],
    "number": [
        (Number(-1.0, 1.0, 0.1, depth=2), SHORT),
        (Number(0.0, 2.05, 0.1, depth=3), SHORT),
        (Number(5.0, 12.0, 1.0, depth=1), SHORT),
    ],
    "residue_labels": [
        (ResidueLabels("HEC", block=BLOCK), SHORT),
        (ResidueLabels("HE", chain=2, block=BLOCK), SHORT_PAIR),
        (ResidueLabels("HE", block=BLOCK), RESIDUE),
    ],
    "residue_set": [
        (ResidueSet(), SHORT),
        (ResidueSet("STY"), SHORT),
        (ResidueSet(most=1), SHORT),
        (ResidueSet(written="marks"), SHORT),
        (ResidueSet("STY", written="marks"), SHORT),
        (ResidueSet("W", written="marks"), SHORT),
        (ResidueSet("W"), SHORT),
        (ResidueSet("STY", chain=2), SHORT_PAIR),
    ],
    "segments": [
        (Segments(("a", "b", "c"), block=BLOCK), SHORT),
        (Segments(("a", "b"), most=2, block=BLOCK), PAIR),
        (Segments(("a", "b", "c"), chain=2, most=2, block=BLOCK), PAIR),
        (Segments(("a", "b"), most=1, block=BLOCK), SHORT),
        (Segments(("a", "b"), block=BLOCK), RESIDUE),
        (Segments(("a", "b", "c"), block=BLOCK, written="labels"), SHORT),
        (Segments(("a", "b"), chain=2, block=BLOCK, written="labels"), SHORT_PAIR),
    ],
    "residue_pairs": [
        (ResiduePairs(), SHORT),
        (ResiduePairs(), RESIDUE),
        (ResiduePairs(separation=2), SHORT),
        (ResiduePairs(most_per_residue=0.4), ProteinRecord("five", ("SAYST",))),
        (ResiduePairs(between=True), SHORT_PAIR),
    ],
    "sequence": [
        (SequenceText("ab", block=BLOCK), SHORT),
        (SequenceText(("x1", "x2"), block=BLOCK), SHORT),
        (SequenceText(("x1", "x2", "x"), length="free", most=2, block=BLOCK), SHORT),
        (SequenceText("ab", length="free", least=1, most=3, block=BLOCK), SHORT),
    ],
}
