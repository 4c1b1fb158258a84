"""From a batch of questions to the evidence that codecs read their answers from.

Questions are grouped by the evidence they need; each group is one or a few passes of the decoder over memories that were
encoded once for all of them.

Shape legend: B questions of a group, R rows a question, K memories, M places, S choices, T columns, n ranks.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from protscribe.codecs.protocol import DigitTree, Draws, Evidence, First, Greedy, Inclusion, Marginals
from protscribe.data.batch import Batch
from protscribe.data.collate import Question
from protscribe.data.lexicon import Lexicon
from protscribe.generation.constraint import CompiledGrammars, compile_grammars, domains_of
from protscribe.generation.search import Decoded, Prompts, _prompt_inputs, renormalise, walk
from protscribe.grammar import Grammar, Positions
from protscribe.nn.decoder import Memory
from protscribe.nn.model import Scribe
from protscribe.vocabulary import MASK, PAD, Token

Way = Literal["risk", "greedy"]


@dataclass(frozen=True)
class Asking:
    """How answers are sought. ``draws``: sampled prefixes or answers a question; ``seed``: of the samples.

    A question's samples depend on the seed, its task and its sequences, never on the batch it stands in.
    """

    draws: int = 16
    seed: int = 0


class Answered(NamedTuple):
    """The evidence of one question, and the mean probability that the model put on forbidden choices."""

    evidence: Evidence
    off_grammar: float


@dataclass(frozen=True)
class Group:
    """Questions that need the same evidence, with their memories in equal groups and their grammars compiled."""

    questions: tuple[Question, ...]
    plain_grammars: tuple[Grammar, ...]
    lexicon: Lexicon
    memory: Memory
    prompts: Prompts
    grammars: CompiledGrammars

    def tokens(self, row: int, numbers: Sequence[int]) -> tuple[Token, ...]:
        """An answer's tokens; the grammar says which chain a plain position token means."""
        domains = domains_of(self.plain_grammars[row])
        chains = [
            domain.chain if isinstance(domain, Positions) else 0 for domain in domains if domain is not None
        ]
        return self.lexicon.tokens(numbers, self.questions[row].record, chains or (0,))

    def greedy(self, row: int, decoded: Decoded, at: int) -> Greedy:
        numbers = decoded.choices_BT[at, : int(decoded.lengths_B[at])].tolist()
        return Greedy(self.tokens(row, numbers), float(decoded.log_probability_B[at]))


@torch.inference_mode()
def answer(
    model: Scribe,
    lexicon: Lexicon,
    batch: Batch,
    *,
    ways: Sequence[Way] | None = None,
    settings: Asking | None = None,
) -> list[Answered]:
    """Evidence for every question of ``batch`` (built by a ``Collator`` from questions without answers), in its order.

    ``ways`` says, for each question, whether the codec's own evidence is wanted (``"risk"``, the default) or the greedy string. The
    model must be in eval mode. Chains are encoded once, memories projected once, for all questions of the batch.
    """
    settings = settings or Asking()
    ways = ways or ["risk"] * len(batch.questions)
    memory = model.remember(batch)
    asked: dict[tuple[str, int], list[int]] = {}
    for place, (question, way) in enumerate(zip(batch.questions, ways, strict=True)):
        kind = "greedy" if way == "greedy" else question.task.codec.asks
        # Digits read to another depth have another number of prefixes, which is part of the shape.
        asked.setdefault((kind, _depth(question) if kind == "digits" else 0), []).append(place)
    found: list[Answered | None] = [None] * len(batch.questions)
    for (kind, _), places in asked.items():
        group = _group(model, lexicon, batch, memory, places)
        for place, answered in zip(places, SEEKERS[kind](model, group, settings), strict=True):
            found[place] = answered
    return [answered for answered in found if answered is not None]


def _group(model: Scribe, lexicon: Lexicon, batch: Batch, memory: Memory, places: list[int]) -> Group:
    questions = tuple(batch.questions[place] for place in places)
    rows = torch.tensor(places, device=batch.tokens_BT.device)
    plain = tuple(question.task.codec.grammar(question.record) for question in questions)
    choices = len(lexicon.vocabulary) + (memory.mask_KM.shape[1] if lexicon.positions == "pointers" else 0)
    aligned_from, aligned_count = [], []
    for question in questions:
        codec, record = question.task.codec, question.record
        chain = getattr(codec, "chain", 1) - 1
        aligned_from.append(sum(record.lengths[:chain]) if codec.dense else -1)
        aligned_count.append(record.lengths[chain] if codec.dense else 0)
    device = batch.tokens_BT.device
    start_B = batch.start_B[rows]
    width = max(len(question.task.conditions) for question in questions) + 2
    return Group(
        questions=questions,
        plain_grammars=plain,
        lexicon=lexicon,
        memory=_arranged(memory, [batch.memory_of[place] for place in places]),
        prompts=Prompts(
            batch.tokens_BT[rows, :width],
            start_B,
            torch.tensor(aligned_from, device=device),
            torch.tensor(aligned_count, device=device),
        ),
        grammars=compile_grammars(plain, lexicon, [q.record for q in questions], choices, device),
    )


def _arranged(memory: Memory, memory_of: Sequence[int]) -> Memory:
    """One memory a group of neighbouring rows where the groups are equal, else one a row (copied)."""
    groups = [(place, len(list(rows))) for place, rows in itertools.groupby(memory_of)]
    if len({count for _, count in groups}) > 1:
        groups = [(place, 1) for place in memory_of]
    wanted = [place for place, _ in groups]
    if wanted == list(range(len(memory.mask_KM))):
        return memory
    return memory.pick(torch.tensor(wanted, device=memory.mask_KM.device))


def _first(model: Scribe, group: Group, settings: Asking) -> list[Answered]:
    """The distribution of the first token: one pass over the prompts."""
    decoder, prompts = model.decoder, group.prompts
    states_BPD = decoder(*_prompt_inputs(prompts), group.memory)
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


def _depth(question: Question) -> int:
    """How many leading digits a number's readout looks at."""
    return int(question.task.codec.read_depth)  # type: ignore[attr-defined]


def _digits(model: Scribe, group: Group, settings: Asking) -> list[Answered]:
    """The joint distribution of the leading digits: all their prefixes in one pass, side by side on each memory."""
    depth = _depth(group.questions[0])
    base = group.grammars.numbers_Bn.shape[1]
    prefixes = base ** (depth - 1)
    decoder, prompts, grammars = (
        model.decoder,
        group.prompts.repeat(prefixes),
        group.grammars.repeat(prefixes),
    )
    rows, prompt_columns = prompts.tokens_BP.shape
    device = prompts.tokens_BP.device
    places = [base ** (depth - 2 - level) for level in range(depth - 1)]
    ranks = [[prefix // place % base for place in places] for prefix in range(prefixes)]
    ranks_BW = torch.tensor(ranks * len(group.questions), dtype=torch.long, device=device).view(
        rows, depth - 1
    )
    forced_BW = grammars.numbers_Bn.gather(1, ranks_BW)
    tokens_BT = torch.nn.functional.pad(prompts.tokens_BP, (0, depth - 1), value=PAD)
    tokens_BT = tokens_BT.scatter(
        1, prompts.start_B[:, None] + torch.arange(depth - 1, device=device), forced_BW
    )
    states_BTD = decoder(tokens_BT, torch.full_like(tokens_BT, -1), group.memory)
    registers, reached_B = grammars.start(), torch.zeros(rows, device=device)
    off_B, joint_Bn = torch.zeros(rows, device=device), reached_B[:, None]
    for level in range(depth):
        at_B = prompts.start_B - 1 + level
        state_B1D = states_BTD[torch.arange(rows, device=device), at_B][:, None]
        legal = renormalise(decoder.choices(state_B1D, group.memory)[:, 0], grammars.allowed(registers))
        # Every prefix of this length stands in as many rows as it has continuations; what none reaches weighs nothing.
        weight_B = reached_B.exp() / base ** (depth - 1 - level)
        off_B = off_B + torch.where(weight_B > 0, weight_B * legal.off_grammar_B, 0.0)
        log_Bn = legal.log_BS.gather(1, grammars.numbers_Bn.clamp(min=0))[:, :base]
        if level == depth - 1:
            joint_Bn = reached_B[:, None] + log_Bn
        else:
            reached_B = reached_B + log_Bn.gather(1, ranks_BW[:, level : level + 1])[:, 0]
            registers = grammars.advance(registers, forced_BW[:, level])
    # A prefix that the grammar forbids has log probability -inf; what follows it may be undefined and counts nothing.
    chances_Bn = torch.where(torch.isfinite(reached_B)[:, None], joint_Bn.exp(), 0.0)
    trees = chances_Bn.double().cpu().numpy().reshape(len(group.questions), *([base] * depth))
    off = off_B.view(len(group.questions), prefixes).sum(1).tolist()
    return [
        Answered(DigitTree(tree / tree.sum()), value / depth) for tree, value in zip(trees, off, strict=True)
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
    """The probability that the answer contains each member of an ascending domain: mean hazard along drawn prefixes."""
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
    "digits": _digits,
    "inclusion": _inclusion,
    "draws": _draws,
    "greedy": _greedy,
}
