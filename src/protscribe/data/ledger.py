"""Exactly what has been sampled of a mixture. Pure Python and numpy."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protscribe.data.batching import Sizes
from protscribe.data.mixture import Places

log = logging.getLogger(__name__)

COUNTED = ("samples", "residues", "tokens")


class Sampled(NamedTuple):
    """What was sampled of one entry: how many samples, how many different ones of its ``of`` rows, and what they hold.

    ``residues`` are those that the encoder read, ``tokens`` those of prompts and answers, the end symbol included; nothing
    of it is padding.
    """

    samples: int
    rows: int
    of: int
    residues: int
    tokens: int


class Ledger:
    """Counts samples by entry of a mixture, over a whole run and over its present epoch."""

    def __init__(self, entries: Sequence[str], rows: Sequence[int]) -> None:
        """``rows`` is the number of rows of each entry."""
        self.entries = tuple(entries)
        self._seen = [np.zeros(count, dtype=bool) for count in rows]
        self._whole = np.zeros((len(self.entries), len(COUNTED)), dtype=np.int64)
        self._epoch = np.zeros_like(self._whole)

    def begin_epoch(self) -> None:
        self._epoch[:] = 0

    def add(self, places: Places, sizes: Sizes) -> None:
        """Counts the samples at ``places``, which have these sizes."""
        for entry in range(len(self.entries)):
            mine = places[:, 0] == entry
            counted = (int(mine.sum()), int(sizes.residues[mine].sum()), int(sizes.tokens[mine].sum()))
            self._whole[entry] += counted
            self._epoch[entry] += counted
            self._seen[entry][places[mine, 1]] = True

    def whole(self) -> dict[str, Sampled]:
        """What was sampled of each entry since the run began."""
        return self._told(self._whole)

    def epoch(self) -> dict[str, Sampled]:
        """What was sampled of each entry in this epoch; its different rows are those since the run began."""
        return self._told(self._epoch)

    def _told(self, counts: NDArray[np.int64]) -> dict[str, Sampled]:
        return {
            name: Sampled(samples, int(seen.sum()), len(seen), residues, tokens)
            for name, seen, (samples, residues, tokens) in zip(
                self.entries, self._seen, counts.tolist(), strict=True
            )
        }

    def state_dict(self) -> dict[str, Any]:
        """The state as lists, numbers and texts; a bit a row."""
        return {
            "entries": list(self.entries),
            "rows": [len(seen) for seen in self._seen],
            "seen": [base64.b64encode(np.packbits(seen).tobytes()).decode("ascii") for seen in self._seen],
            "whole": self._whole.tolist(),
            "epoch": self._epoch.tolist(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes the counts of the run that is resumed. An entry that it did not have, or had with another number of rows,
        counts from now on."""
        for place, (name, rows) in enumerate(zip(state["entries"], state["rows"], strict=True)):
            mine = self.entries.index(name) if name in self.entries else None
            if mine is None or len(self._seen[mine]) != rows:
                log.warning(
                    "what was sampled of mixture entry %s before, with %d rows, is not counted", name, rows
                )
                continue
            self._whole[mine], self._epoch[mine] = state["whole"][place], state["epoch"][place]
            bits = np.frombuffer(base64.b64decode(state["seen"][place]), dtype=np.uint8)
            self._seen[mine][:] = np.unpackbits(bits, count=rows).astype(bool)
