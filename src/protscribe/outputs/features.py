"""Writers for browsers and for people: GFF3 features, and three lines a protein.

GFF3 is the format of the Sequence Ontology project (version 1.26): nine columns, positions 1-based and inclusive, reserved
characters percent-encoded. Types are terms of the Sequence Ontology.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import BinaryIO, NamedTuple

from protscribe.errors import OutputError
from protscribe.outputs.tables import Asked, text_stream
from protscribe.predictions import chain_of, labels_of, number_text, residues_of, share_text, value_text
from protscribe.records import Prediction, ProteinRecord

_SEQID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:^*$@!+_?-|")
_RESERVED = frozenset("%;=&,") | {chr(code) for code in (*range(32), 127)}

WHOLE = "polypeptide"
REGION = "polypeptide_region"
TERMS = {
    "signal": "signal_peptide",
    "signal_peptide": "signal_peptide",
    "mature": "mature_protein_region",
    "propeptide": "propeptide",
    "transit": "transit_peptide",
    "transit_peptide": "transit_peptide",
    "transmembrane": "transmembrane_polypeptide_region",
    "membrane": "intramembrane_polypeptide_region",
    "cytoplasmic": "cytoplasmic_polypeptide_region",
    "extracellular": "non_cytoplasmic_polypeptide_region",
    "helix": "alpha_helix",
    "strand": "beta_strand",
}
"""Terms of the Sequence Ontology for labels that name the thing itself; everything else is a region."""

SCORES = {
    "residue_set": "probability that the residue is a member",
    "residue_labels": "mean probability of the label over the residues of the feature",
    "segments": "mean probability of the label over the residues of the feature",
    "sequence": "mean probability of the tokens of the feature",
    "residue_pairs": "probability that the pair is a member",
}
"""What the score of a feature means; where a readout gives no such probabilities it is that of the whole answer."""


class Feature(NamedTuple):
    """Residues ``start`` to ``end`` (1-based, inclusive) of a chain."""

    chain: int
    start: int
    end: int
    type: str
    score: float
    label: str
    id: str | None = None


class Gff3:
    """GFF3: residue sets as features of one residue, labels and segments as stretches, pairs as features in two parts, all else
    as a feature of the whole chain. Chains of a pair are told apart as ``<id>:1`` and ``<id>:2``."""

    def __init__(self, stream: BinaryIO, asked: Sequence[Asked]) -> None:
        self._text = text_stream(stream)
        self._text.write("##gff-version 3\n")
        for task in asked:
            meaning = SCORES.get(task.kind, "that of the answer, see score_meaning")
            self._text.write(f"# score of task {_attribute(task.task)}: {meaning}\n")
        self._record: tuple[int, str] | None = None
        self._pairs = 0

    def write(self, prediction: Prediction) -> None:
        record = prediction.record
        if self._record != (record.ordinal, record.id):
            self._record = (record.ordinal, record.id)
            for chain, length in enumerate(record.lengths, start=1):
                self._text.write(f"##sequence-region {_seqid(record, chain)} 1 {length}\n")
        for feature in self._features(prediction):
            self._text.write(_line(prediction, feature))

    def _features(self, prediction: Prediction) -> Iterator[Feature]:
        if prediction.kind == "residue_pairs":
            yield from self._pair_features(prediction)
        elif chain_of(prediction) is None:
            yield from _whole_features(prediction)
        elif prediction.kind == "residue_set":
            yield from _member_features(prediction)
        else:
            yield from _stretches(prediction)

    def _pair_features(self, prediction: Prediction) -> Iterator[Feature]:
        for first, second in prediction.value:
            self._pairs += 1
            chances = prediction.probabilities
            # A greedy answer may hold a pair that was never drawn.
            score = prediction.score if chances is None else chances.get((first, second), 0.0)
            for chain, place in ((1, first), (prediction.chain or 1, second)):
                label = f"{first}-{second}"
                yield Feature(chain, place, place, REGION, score, label, f"pair{self._pairs}")

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


def _whole_features(prediction: Prediction) -> Iterator[Feature]:
    for chain, length in enumerate(prediction.record.lengths, start=1):
        yield Feature(chain, 1, length, WHOLE, prediction.score, value_text(prediction))


def _member_features(prediction: Prediction) -> Iterator[Feature]:
    chain, rows = chain_of(prediction) or 1, residues_of(prediction)
    for place in prediction.value:
        row = rows[place - 1]
        score = prediction.score if row.score is None else row.score
        yield Feature(chain, place, place, REGION, score, row.residue)


def _stretches(prediction: Prediction) -> Iterator[Feature]:
    """Runs of one label; of segments as they are."""
    chain = chain_of(prediction) or 1
    for label, run in groupby(residues_of(prediction), key=lambda row: row.label):
        rows = list(run)
        scores = [row.score for row in rows if row.score is not None]
        score = sum(scores) / len(scores) if scores else prediction.score
        type = TERMS.get(label.lower(), REGION)
        yield Feature(chain, rows[0].position, rows[-1].position, type, score, label)


def _line(prediction: Prediction, feature: Feature) -> str:
    attributes = {
        "ID": feature.id,
        "Name": feature.label,
        "task": prediction.task,
        "record": prediction.id if len(prediction.record.chains) > 1 else None,
        "unit": prediction.unit,
        "lower": number_text(prediction.lower),
        "upper": number_text(prediction.upper),
        "score_meaning": prediction.score_meaning
        if feature.type == WHOLE or prediction.probabilities is None
        else None,
        "status": prediction.status,
    }
    written = ";".join(f"{name}={_attribute(value)}" for name, value in attributes.items() if value)
    seqid, score = _seqid(prediction.record, feature.chain), share_text(feature.score)
    columns = (
        seqid,
        "protscribe",
        feature.type,
        str(feature.start),
        str(feature.end),
        score,
        ".",
        ".",
        written,
    )
    return "\t".join(columns) + "\n"


def _seqid(record: ProteinRecord, chain: int) -> str:
    return _encoded(record.id, lambda character: character not in _SEQID) + (
        f":{chain}" if len(record.chains) > 1 else ""
    )


def _attribute(text: str) -> str:
    return _encoded(text, lambda character: character in _RESERVED)


def _encoded(text: str, must: Callable[[str], bool]) -> str:
    def one(character: str) -> str:
        if not must(character):
            return character
        return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))

    return "".join(map(one, text))


class ThreeLines:
    """Three lines an answer: ``>id task``, the sequence, and one character a residue.

    Members of a residue set are ``1``, other residues ``0``. Raises :class:`~protscribe.errors.OutputError` ``output.format``
    for tasks whose answers have no one character a residue.
    """

    def __init__(self, stream: BinaryIO, asked: Sequence[Asked]) -> None:
        unfit = [task.task for task in asked if not task.characters]
        if unfit:
            fit = [task.task for task in asked if task.characters]
            message = (
                f"answers of {', '.join(unfit)} have no one character a residue, which three-line text needs"
            )
            hint = (
                f"choose among the tasks {', '.join(fit)}"
                if fit
                else "none of these tasks does; choose another format"
            )
            raise OutputError("output.format", f"{message}; {hint}")
        self._text = text_stream(stream)

    def write(self, prediction: Prediction) -> None:
        chain = chain_of(prediction)
        assert chain is not None
        marks: Iterable[str] = (
            (row.label for row in residues_of(prediction))
            if prediction.kind == "residue_set"
            else labels_of(prediction)
        )
        sequence = prediction.record.chains[chain - 1]
        self._text.write(f">{prediction.id} {prediction.task}\n{sequence}\n{''.join(marks)}\n")

    def close(self) -> None:
        self._text.flush()
        self._text.detach()
