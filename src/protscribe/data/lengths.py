"""What happens to proteins longer than an encoder's limit: said by a policy, never silent."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from protscribe.errors import ConfigError, SequenceError, Where
from protscribe.records import ProteinRecord

LengthPolicy = Literal["error", "truncate", "window", "full"]
"""``error``: refuse. ``truncate``: keep the first residues. ``window``: the encoder reads overlapping
windows. ``full``: the encoder reads the whole protein, beyond what it was trained on.
"""


def apply_length_policy(record: ProteinRecord, limit: int | None, policy: LengthPolicy) -> ProteinRecord:
    """The record as an encoder with ``limit`` residues a chain gets it under ``policy``.

    ``None`` is no limit. ``truncate`` sets ``original_lengths``; ``window`` and ``full`` leave the record as
    it is. Raises :class:`~protscribe.errors.SequenceError` ``seq.too_long`` under ``error``.
    """
    if policy not in get_args(LengthPolicy):
        raise ConfigError(
            "config.value", f"the length policy is one of {get_args(LengthPolicy)}, got {policy!r}"
        )
    if limit is None or max(record.lengths) <= limit or policy in ("window", "full"):
        return record
    if policy == "truncate":
        chains = tuple(chain[:limit] for chain in record.chains)
        return replace(record, chains=chains, original_lengths=record.lengths)
    message = (
        f"{max(record.lengths)} residues, and the encoder reads {limit}; choose long=truncate (positions beyond are lost), "
        "window (overlapping windows) or full (beyond what it was trained on)"
    )
    raise SequenceError("seq.too_long", message, Where(line=record.line, record=record.id))
