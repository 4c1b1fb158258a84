"""A task is a value: a name, what goes in, a codec for what comes out, and how it is judged. Pure Python.

Tasks are read from YAML (``configs/task/*.yaml`` is the catalogue of shipped ones) and travel inside a bundle. Where a
task's data lies is a source (``protscribe.data.source``) and never part of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from protscribe.codecs import codec_from_plain, codec_to_plain
from protscribe.codecs.protocol import Codec, Reading
from protscribe.errors import LabelError, TaskError, Where, nearest
from protscribe.records import Prediction, ProteinRecord
from protscribe.vocabulary import TASK_BLOCK, UNKNOWN, Block, Symbol


@dataclass(frozen=True)
class Condition:
    """A field of a record that is written into the prompt as a symbol: organism, kingdom, ligand, allele.

    ``values`` are its known values; empty means: taken from the training data. A value that is not known, and a
    missing one, is written as ``<unknown>``, unless ``required`` says that this is an error. Tasks that condition
    on the same field share its symbols.
    """

    field: str
    values: tuple[str, ...] = ()
    required: bool = False

    def block(self) -> Block:
        return Block(self.field, (UNKNOWN, *self.values))

    def symbol(self, record: ProteinRecord) -> Symbol:
        value = record.fields.get(self.field)
        if value in self.values:
            return Symbol(self.field, value)
        if self.required:
            got = "nothing" if value is None else repr(value)
            raise LabelError(
                "record.condition",
                f"field {self.field!r} must be one of the known values, got {got}; {nearest(value or '', self.values)}",
                Where(record=record.id, line=record.line, column=self.field),
            )
        return Symbol(self.field, UNKNOWN)


@dataclass(frozen=True)
class Task:
    """One question that can be asked of a protein, or of a pair.

    ``chains`` is 1 or 2. A ``symmetric`` pair task gives one answer for both orders of its chains. ``molecule``
    says that a SMILES string belongs to the input. ``metrics`` are names from ``protscribe.evaluation.metrics``;
    the first is the main one.
    """

    name: str
    title: str
    codec: Codec
    chains: int = 1
    symmetric: bool = False
    molecule: bool = False
    conditions: tuple[Condition, ...] = ()
    metrics: tuple[str, ...] = ()
    description: str = ""
    reference: str = ""

    def __post_init__(self) -> None:
        if self.chains not in (1, 2):
            raise TaskError("task.chains", f"task {self.name!r}: chains must be 1 or 2, got {self.chains}")
        if self.codec.chains > self.chains:
            raise TaskError("task.chains", f"task {self.name!r}: its codec needs {self.codec.chains} chains")
        if self.symmetric and (self.chains != 2 or self.codec.asks not in ("first", "digits")):
            raise TaskError(
                "task.symmetric", f"task {self.name!r}: only class and number tasks on pairs are symmetric"
            )
        if not self.codec.block:
            object.__setattr__(self, "codec", dataclasses.replace(self.codec, block=self.name))  # type: ignore[type-var]

    @property
    def symbol(self) -> Symbol:
        return Symbol(TASK_BLOCK, self.name)

    def prompt(self, record: ProteinRecord) -> tuple[Symbol, ...]:
        """What is asked: the task's symbol, then one symbol a condition."""
        return (self.symbol, *(condition.symbol(record) for condition in self.conditions))

    def blocks(self) -> tuple[Block, ...]:
        """All the symbols this task needs."""
        return (
            Block(TASK_BLOCK, (self.name,)),
            *(condition.block() for condition in self.conditions),
            *self.codec.blocks(),
        )

    def arrange(self, record: ProteinRecord) -> ProteinRecord:
        """The record as the model sees it: the chains of a symmetric pair in one fixed order."""
        if self.symmetric and record.chains[0] > record.chains[1]:
            return replace(record, chains=record.chains[::-1])
        return record

    def prediction(self, record: ProteinRecord, reading: Reading, **told: Any) -> Prediction:
        """A reading as the prediction for a record. ``told`` are fields of it that no reading knows."""
        return Prediction(
            id=record.id,
            task=self.name,
            kind=self.codec.kind,
            value=reading.value,
            score=reading.score,
            score_meaning=reading.score_meaning,
            record=record,
            probabilities=reading.probabilities,
            lower=reading.lower,
            upper=reading.upper,
            interval_level=reading.interval_level,
            standard_error=reading.standard_error,
            draws=reading.draws,
            quantiles=reading.quantiles,
            unit=getattr(self.codec, "unit", None) or None,
            **told,
        )

    def fill(self, cells: Iterable[Any], fields: Mapping[str, Iterable[str]]) -> Task:
        """This task with open labels and condition values taken from training data, sorted."""
        conditions = tuple(
            condition
            if condition.values
            else replace(condition, values=tuple(sorted(set(fields[condition.field]))))
            for condition in self.conditions
        )
        return replace(self, codec=self.codec.fill(cells), conditions=conditions)

    def to_plain(self) -> dict[str, Any]:
        """The task as lists, mappings, texts and numbers, for JSON."""
        plain = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("codec", "conditions")
        }
        plain["metrics"] = list(self.metrics)
        plain["codec"] = codec_to_plain(self.codec)
        plain["conditions"] = [
            {"field": c.field, "values": list(c.values), "required": c.required} for c in self.conditions
        ]
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], origin: str = "task") -> Task:
        """The inverse of :meth:`to_plain`; also what a task's YAML holds. Unknown keys are errors."""
        known = {f.name for f in dataclasses.fields(cls)}
        for key in plain:
            if key not in known:
                raise TaskError("task.key", f"{origin}: unknown key {key!r}; {nearest(str(key), known)}")
        for key in ("name", "title", "codec"):
            if key not in plain:
                raise TaskError("task.key", f"{origin}: the key {key!r} is missing")
        values = dict(plain)
        values["codec"] = codec_from_plain(plain["codec"], f"{origin}: codec")
        values["metrics"] = tuple(plain.get("metrics", ()))
        values["conditions"] = tuple(
            Condition(
                field=c["field"], values=tuple(c.get("values") or ()), required=bool(c.get("required", False))
            )
            for c in plain.get("conditions", ())
        )
        return cls(**values)
