"""Answers that are written token by token: the greedy one of a question, drawn ones beside it, and the hazards along them.

All answers of a group are written in one decode, whichever evidence each question needs of them.

Shape legend: B answers, T answer columns, n ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from protscribe.codecs.protocol import Draws, Evidence, Greedy, Inclusion
from protscribe.generation.group import Answered, Asking, Group
from protscribe.generation.sampling import uniforms
from protscribe.generation.search import walk
from protscribe.nn.decoder import Decoder
from protscribe.transfer import read_back, upload

DRAWN = ("inclusion", "draws")
"""Kinds of evidence that rest on drawn answers."""

COLUMNS = {"cpu": 16_384, "cuda": 262_144}
"""Tokens held at once where a number is not asked for: with the base decoder half a gigabyte on a CPU, eight on a GPU."""


class Written(NamedTuple):
    """Answers on the host, where nothing waits any more: the arrays of :class:`~protscribe.generation.search.Decoded`."""

    choices_BT: np.ndarray
    lengths_B: np.ndarray
    log_probability_B: np.ndarray
    off_grammar_B: np.ndarray
    inclusion_Bn: np.ndarray

    def greedy(self, group: Group, question: int, at: int) -> Greedy:
        """Answer ``at``, which is one of ``question``."""
        numbers = self.choices_BT[at, : self.lengths_B[at]].tolist()
        return Greedy(group.tokens(question, numbers), float(self.log_probability_B[at]))


def write_answers(
    decoder: Decoder,
    group: Group,
    kinds: Sequence[str],
    settings: Asking,
    width: int = 1,
    known_Bn: Tensor | None = None,
) -> list[Answered]:
    """The evidence of every question of ``group``: of the kinds ``greedy``, ``inclusion`` and ``draws``.

    ``width`` is that of :func:`~protscribe.generation.search.walk`. ``known_Bn`` ``[questions, n]``: the part of inclusion
    probabilities that is known without drawing.
    """
    counts = [settings.draws + 1 if kind in DRAWN else 1 for kind in kinds]
    question_of = [place for place, count in enumerate(counts) for _ in range(count)]
    decoded = walk(
        decoder,
        group.memory,
        group.prompts,
        group.grammars,
        _numbers(group, counts, settings),
        question_of=question_of,
        memory_of=[group.memory_of[place] for place in question_of],
        lanes=_lanes(group, settings),
        width=width,
    )
    if known_Bn is not None:
        known_Jn = known_Bn[upload(torch.tensor(question_of), known_Bn.device)]
        decoded = replace(decoded, inclusion_Bn=decoded.inclusion_Bn + known_Jn)
    written = Written(*read_back("decoded", *(getattr(decoded, name) for name in Written._fields)))
    firsts = np.cumsum([0, *counts])
    return [
        Answered(
            _evidence(written, group, place, kind, slice(firsts[place], firsts[place + 1])),
            float(written.off_grammar_B[firsts[place]]),
        )
        for place, kind in enumerate(kinds)
    ]


def _numbers(group: Group, counts: Sequence[int], settings: Asking) -> Tensor | None:
    """Uniform numbers of all answers, -1 for the first one of each question; ``None`` where no answer is drawn."""
    if max(counts) == 1:
        return None
    steps = group.grammars.longest + 1
    numbers = []
    for question, count in zip(group.questions, counts, strict=True):
        one = (
            uniforms([question], settings.seed, steps, count)
            if count > 1
            else np.empty((1, steps), np.float32)
        )
        one[0] = -1
        numbers.append(one)
    return upload(torch.from_numpy(np.concatenate(numbers)), group.prompts.tokens_BP.device)


def _lanes(group: Group, settings: Asking) -> int:
    """How many answers about a memory are written side by side."""
    device = group.prompts.tokens_BP.device.type
    columns = settings.columns or COLUMNS.get(device, COLUMNS["cuda"])
    text = group.prompts.tokens_BP.shape[1] + group.grammars.longest + 1
    return max(1, columns // (len(group.memory.mask_KM) * text))


def _evidence(written: Written, group: Group, question: int, kind: str, rows: slice) -> Evidence:
    greedy = written.greedy(group, question, rows.start)
    if kind == "draws":
        drawn = (written.greedy(group, question, at).tokens for at in range(rows.start + 1, rows.stop))
        return Draws(tuple(drawn), greedy)
    if kind == "inclusion":
        hazards = written.inclusion_Bn[rows, : group.sizes[question]].astype(np.float64)[1:]
        draws = len(hazards)
        error = hazards.std(axis=0, ddof=1) / draws**0.5 if draws > 1 else np.full(hazards.shape[1], np.nan)
        # What was drawn may add too much to what is known.
        return Inclusion(np.minimum(hazards.mean(axis=0), 1.0), error, draws, greedy)
    return greedy
