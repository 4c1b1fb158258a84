"""Where the labelled records of a task come from. A source belongs to a run and never travels inside a bundle.

What it says is read by :mod:`protscribe.data.examples`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from protscribe.data.files import SUFFIXES, suffix_of
from protscribe.data.makers import Maker, maker_from_plain, maker_to_plain
from protscribe.errors import ConfigError, nearest

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
LABEL, SCORED, SPLIT = "label", "scored", "split"


@dataclass(frozen=True)
class Source:
    """A table with the labels of one task.

    ``columns`` maps roles to columns: ``id``, ``sequence`` (or ``sequence_a`` and ``sequence_b``),
    ``smiles``, ``label``, ``scored`` (which residues count), ``split`` and the names of the task's condition
    fields. A role that is not named is looked for under its own name. ``splits`` says which values of the
    split column are ``train``, ``validation`` and ``test``; a table without a split column is all ``train``.
    ``base`` (0 or 1) is what positions in the labels count from. ``where`` keeps the rows whose column has
    (one of) the given values. ``limit`` keeps that many rows of every split, drawn with ``seed``. ``missing``
    says what an empty label is: an error, or a row to ``"skip"``. ``licence``
    of the data is named in the card of every bundle trained on them.

    With ``make`` the labels are made from the sequences (see :mod:`protscribe.data.makers`) and there is no column of
    them: any table of proteins will do, or a FASTA file, which has neither columns nor splits and is all ``train``.
    """

    name: str
    path: str
    task: str
    columns: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    base: Literal[0, 1] = 1
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limit: int | None = None
    seed: int = 0
    missing: Literal["error", "skip"] = "error"
    licence: str = ""
    make: Maker | None = None

    def __post_init__(self) -> None:
        if self.is_fasta and (self.columns or self.splits or self.where):
            raise self._error("config.value", "a FASTA file has no columns: no columns, splits or where")
        for key in self.splits:
            if key not in SPLITS:
                raise self._error("config.value", f"unknown split {key!r}; {nearest(key, SPLITS)}")
        values = [value for split in self.splits.values() for value in split]
        shared = sorted({value for value in values if values.count(value) > 1})
        if shared:
            raise self._error("config.value", f"these values belong to two splits: {', '.join(shared)}")
        if self.base not in (0, 1) or isinstance(self.base, bool):
            raise self._error("config.value", f"base must be 0 or 1, got {self.base!r}")
        if self.limit is not None and self.limit < 1:
            raise self._error("config.value", f"limit must be at least 1, got {self.limit}")
        if self.missing not in ("error", "skip"):
            raise self._error("config.value", f"missing must be 'error' or 'skip', got {self.missing!r}")

    def _error(self, code: str, message: str) -> ConfigError:
        return ConfigError(code, f"source {self.name!r}: {message}")

    @property
    def is_fasta(self) -> bool:
        """Whether proteins come from a FASTA file, which is possible where labels are made."""
        return self.make is not None and SUFFIXES.get(suffix_of(self.path)) == "fasta"

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], origin: str = "source") -> Source:
        """A source from what its YAML holds. Raises :class:`~protscribe.errors.ConfigError` with
        ``config.unknown_key``, ``config.missing``, ``config.type`` or ``config.value``.
        """
        known = [part.name for part in dataclasses.fields(cls)]
        for key in plain:
            if key not in known:
                raise ConfigError(
                    "config.unknown_key", f"{origin}: unknown key {key!r}; {nearest(str(key), known)}"
                )
        for key in ("name", "path", "task"):
            if key not in plain:
                raise ConfigError("config.missing", f"{origin}: the key {key!r} is missing")
        values = dict(plain)
        for key, kind in (
            ("name", str),
            ("path", str),
            ("task", str),
            ("missing", str),
            ("licence", str),
            ("seed", int),
            ("limit", int),
        ):
            value = values.get(key)
            if key not in values or (value is None and key == "limit"):
                continue
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ConfigError("config.type", f"{origin}: {key} must be {kind.__name__}, got {value!r}")
        for key in ("columns", "splits", "where"):
            values[key] = values.get(key) or {}
            if not isinstance(values[key], Mapping):
                raise ConfigError("config.type", f"{origin}: {key} must be a mapping, got {values[key]!r}")
        values["columns"] = {str(role): str(column) for role, column in values["columns"].items()}
        for key in ("splits", "where"):
            values[key] = {str(name): _texts(value) for name, value in values[key].items()}
        if values.get("make") is not None:
            if not isinstance(values["make"], Mapping):
                raise ConfigError("config.type", f"{origin}: make must be a mapping, got {values['make']!r}")
            values["make"] = maker_from_plain(values["make"], f"{origin}: make")
        return cls(**values)

    def to_plain(self) -> dict[str, Any]:
        """The inverse of :meth:`from_plain`."""
        plain = dataclasses.asdict(self)
        for key in ("splits", "where"):
            plain[key] = {name: list(values) for name, values in plain[key].items()}
        plain["make"] = None if self.make is None else maker_to_plain(self.make)
        return plain


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(plain_text, value)) if isinstance(value, (list, tuple)) else (plain_text(value),)


def plain_text(value: Any) -> str:
    """A cell or a configured value as the text by which they are compared: ``True``, ``true`` and ``1.0``
    have one each.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return (
        value.lower()
        if isinstance(value, str) and value in ("True", "TRUE", "False", "FALSE")
        else str(value)
    )
