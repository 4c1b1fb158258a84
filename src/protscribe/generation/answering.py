"""From a batch of questions to the evidence that codecs read their answers from.

Questions are grouped by the evidence they need; each group is one or a few passes of the decoder over
memories that were encoded once for all of them.

Shape legend: B questions of a group, R rows a question, K memories, M places, S choices, T columns, n ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from protscribe.codecs.protocol import Draws, First, Inclusion, Marginals
from protscribe.data.batch import Batch
from protscribe.data.lexicon import Lexicon
from protscribe.generation.digits import digits_of, number_trees
from protscribe.generation.group import Answered, Asking, Group, group_questions
from protscribe.generation.search import Decoded, prompt_inputs, renormalise, walk
from protscribe.nn.model import Scribe
from protscribe.vocabulary import MASK, PAD

__all__ = ["Answered", "Asking", "answer"]

Way = Literal["risk", "greedy"]


@torch.inference_mode()
def answer(
    model: Scribe,
    lexicon: Lexicon,
    batch: Batch,
    *,
    ways: Sequence[Way] | None = None,
    settings: Asking | None = None,
) -> list[Answered]:
    """Evidence for every question of ``batch`` (built by a ``Collator`` from questions without answers), in
    its order.

    ``ways`` says, for each question, whether the codec's own evidence is wanted (``"risk"``, the default) or
    the greedy string. The model must be in eval mode. Chains are encoded once, memories projected once, for
    all questions of the batch.
    """
    settings = settings or Asking()
    ways = ways or ["risk"] * len(batch.questions)
    memory = model.remember(batch)
    asked: dict[tuple[str, tuple[int, int]], list[int]] = {}
    for place, (question, way) in enumerate(zip(batch.questions, ways, strict=True)):
        kind = "greedy" if way == "greedy" else question.task.codec.asks
        # Digits read to another depth have another number of prefixes, which is part of the shape.
        asked.setdefault((kind, digits_of(question) if kind == "digits" else (0, 0)), []).append(place)
    found: list[Answered | None] = [None] * len(batch.questions)
    for (kind, _), places in asked.items():
        group = group_questions(lexicon, batch, memory, places)
        for place, answered in zip(places, SEEKERS[kind](model, group, settings), strict=True):
            found[place] = answered
    return [answered for answered in found if answered is not None]


def _first(model: Scribe, group: Group, settings: Asking) -> list[Answered]:
    """The distribution of the first token: one pass over the prompts."""
    decoder, prompts = model.decoder, group.prompts
    states_BPD = decoder(*prompt_inputs(prompts), group.memory)
    rows = torch.arange(len(group.questions), device=states_BPD.device)
    state_B1D = states_BPD[rows, prompts.start_B - 1][:, None]
    legal = renormalise(
        decoder.choices(state_B1D, group.memory)[:, 0], group.grammars.allowed(group.grammars.start())
    )
    chances_Bn = legal.log_BS.gather(1, group.grammars.numbers_Bn.clamp(min=0)).exp().double().cpu().numpy()
    off_B, sizes = legal.off_grammar_B.tolist(), group.grammars.size.tolist()
    return [
        Answered(First(_sums_to_one(chances_Bn[row, : sizes[row]])), off_B[row]) for row in range(len(sizes))
    ]


def _sums_to_one(chances: np.ndarray) -> np.ndarray:
    return chances / chances.sum(axis=-1, keepdims=True)


def _marginals(model: Scribe, group: Group, settings: Asking) -> list[Answered]:
    """Every token of a dense answer from one pass in which the whole answer is masked."""
    decoder, prompts = model.decoder, group.prompts
    rows, prompt_columns = prompts.tokens_BP.shape
    most = group.grammars.longest
    device = prompts.tokens_BP.device
    columns_T = torch.arange(prompt_columns + most - 1, device=device)
    step_BT = columns_T - (prompts.start_B - 1)[:, None]
    prompt_BT = torch.nn.functional.pad(prompts.tokens_BP, (0, most - 1), value=PAD)
    tokens_BT = torch.where(step_BT > 0, MASK, prompt_BT)
    within_BT = (step_BT >= 0) & (step_BT < prompts.aligned_count_B[:, None])
    aligned_BT = torch.where(within_BT, prompts.aligned_from_B[:, None] + step_BT, -1)
    states_BTD = decoder(tokens_BT, aligned_BT, group.memory)
    answer_BT = (prompts.start_B - 1)[:, None] + torch.arange(most, device=device)
    states_BTD = states_BTD.gather(1, answer_BT[..., None].expand(-1, -1, states_BTD.shape[-1]))
    scores_BTS = decoder.choices(states_BTD, group.memory).log_softmax(dim=-1)
    numbers_BTn = group.grammars.numbers_Bn.clamp(min=0)[:, None].expand(-1, most, -1)
    chances_BTn = scores_BTS.gather(2, numbers_BTn).exp() * (group.grammars.numbers_Bn >= 0)[:, None]
    mass_BT = chances_BTn.sum(-1)
    chances, mass = (chances_BTn / mass_BT[..., None]).double().cpu().numpy(), mass_BT.double().cpu().numpy()
    sizes, lengths = group.grammars.size.tolist(), group.grammars.high.tolist()
    return [
        Answered(
            Marginals(_sums_to_one(chances[row, : lengths[row], : sizes[row]])),
            float(np.clip(1 - mass[row, : lengths[row]], 0, 1).mean()) if lengths[row] else 0.0,
        )
        for row in range(rows)
    ]


def _uniforms(group: Group, settings: Asking, steps: int, rows_each: int) -> Tensor:
    """``[B * R, steps]``: the first row of every question greedy (-1), the others uniform numbers of their own."""
    drawn = np.empty((len(group.questions), rows_each, steps), dtype=np.float32)
    for place, question in enumerate(group.questions):
        text = "\0".join((question.task.name, *question.record.chains, question.record.molecule or ""))
        key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        generator = np.random.default_rng([settings.seed, key])
        # Step by step, so that a longer neighbour in the batch does not change the numbers of this row.
        drawn[place] = np.minimum(generator.random((steps, rows_each)), 1 - 1e-7).T
    drawn[:, 0] = -1
    return torch.from_numpy(drawn.reshape(-1, steps)).to(group.prompts.tokens_BP.device)


def _sampled(model: Scribe, group: Group, settings: Asking) -> Decoded:
    rows_each = settings.draws + 1
    uniforms = _uniforms(group, settings, group.grammars.longest + 1, rows_each)
    return walk(
        model.decoder,
        group.memory,
        group.prompts.repeat(rows_each),
        group.grammars.repeat(rows_each),
        uniforms,
    )


def _inclusion(model: Scribe, group: Group, settings: Asking) -> list[Answered]:
    """The probability that the answer contains each member of an ascending domain: mean hazard along drawn
    prefixes.
    """
    decoded = _sampled(model, group, settings)
    rows_each = settings.draws + 1
    hazards = decoded.inclusion_Bn.double().view(len(group.questions), rows_each, -1)[:, 1:].cpu().numpy()
    off, sizes = decoded.off_grammar_B.view(-1, rows_each)[:, 0].tolist(), group.grammars.size.tolist()
    answers = []
    for row, size in enumerate(sizes):
        values = hazards[row, :, :size]
        error = (
            values.std(axis=0, ddof=1) / settings.draws**0.5 if settings.draws > 1 else np.full(size, np.nan)
        )
        greedy = group.greedy(row, decoded, row * rows_each)
        answers.append(Answered(Inclusion(values.mean(axis=0), error, settings.draws, greedy), off[row]))
    return answers


def _draws(model: Scribe, group: Group, settings: Asking) -> list[Answered]:
    """Answers drawn from the model, beside the greedy one."""
    decoded = _sampled(model, group, settings)
    rows_each = settings.draws + 1
    off = decoded.off_grammar_B.view(-1, rows_each)[:, 0].tolist()
    answers = []
    for row in range(len(group.questions)):
        every = [group.greedy(row, decoded, row * rows_each + place) for place in range(rows_each)]
        answers.append(Answered(Draws(tuple(drawn.tokens for drawn in every[1:]), every[0]), off[row]))
    return answers


def _greedy(model: Scribe, group: Group, settings: Asking) -> list[Answered]:
    """The greedy string."""
    decoded = walk(model.decoder, group.memory, group.prompts, group.grammars)
    off = decoded.off_grammar_B.tolist()
    return [Answered(group.greedy(row, decoded, row), off[row]) for row in range(len(group.questions))]


SEEKERS: dict[str, Callable[[Scribe, Group, Asking], list[Answered]]] = {
    "first": _first,
    "marginals": _marginals,
    "digits": lambda model, group, settings: number_trees(model.decoder, group, settings),
    "inclusion": _inclusion,
    "draws": _draws,
    "greedy": _greedy,
}
