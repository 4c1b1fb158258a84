"""Constrained decoding for a whole batch: greedy and sampled answers side by side, one or several tokens a pass.

The loop holds no Python per row and asks the device nothing, except, every few passes, whether anything is left to write.

Shape legend: J answers, B lanes (K * R: R neighbouring lanes ask the same memory), W columns of a pass, S choices, T answer
columns, P prompt columns, n ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from protscribe.generation.constraint import ASCENDING, CompiledGrammars, State
from protscribe.generation.lanes import Found, Lanes, Prompts, Queue
from protscribe.generation.pace import Pace
from protscribe.generation.sampling import draw
from protscribe.nn.attention import Cache
from protscribe.nn.decoder import Decoder, Memory
from protscribe.transfer import read_back
from protscribe.vocabulary import EOS, PAD

CACHE_STEP = 64
"""Cached columns are read in multiples of so many, so that few distinct shapes occur."""


@dataclass(frozen=True)
class Decoded:
    """Answers: ``choices_BT`` (numbers; padded after the end), ``lengths_B`` without the end symbol.

    ``log_probability_B`` is the natural log of the whole answer's probability, renormalised over allowed choices, and
    ``off_grammar_B`` the mean probability that the model put on forbidden ones. ``inclusion_Bn`` holds, for
    ascending answers, the hazard of each rank at the step where the answer took it or passed it by (see
    :func:`walk`). ``passes`` of the decoder it took, counted at the last check.
    """

    choices_BT: Tensor
    lengths_B: Tensor
    log_probability_B: Tensor
    off_grammar_B: Tensor
    inclusion_Bn: Tensor
    passes: int


@dataclass(frozen=True)
class Legal:
    """A step's distribution over allowed choices: ``log_BS`` renormalised (``-inf`` where forbidden), and
    what was outside.
    """

    log_BS: Tensor
    off_grammar_B: Tensor


def renormalise(scores_BS: Tensor, allowed_BS: Tensor) -> Legal:
    """The model's distribution restricted to the allowed choices, and the mass it had put on the others."""
    log_all_B1 = scores_BS.logsumexp(dim=-1, keepdim=True)
    kept_BS = scores_BS.masked_fill(~allowed_BS, float("-inf"))
    log_kept_B1 = kept_BS.logsumexp(dim=-1, keepdim=True)
    return Legal(kept_BS - log_kept_B1, (1 - (log_kept_B1 - log_all_B1)[:, 0].exp()).clamp(0, 1))


def walk(
    decoder: Decoder,
    memory: Memory,
    prompts: Prompts,
    grammars: CompiledGrammars,
    uniform_BT: Tensor | None = None,
    *,
    question_of: Sequence[int] | None = None,
    memory_of: Sequence[int] | None = None,
    lanes: int = 0,
    width: int = 1,
) -> Decoded:
    """Writes B answers to their ends.

    A token whose uniform number is negative, and every token where ``uniform_BT`` is ``None``, is the most probable allowed
    one; the others are drawn. For ascending answers the *hazard* of a rank is the probability that it comes next, given that
    the answer has got to it: p(rank) / (p(this rank or a later one) + p(end)). Averaged over drawn answers it estimates
    that the answer contains the rank, with less variance than counting. Where the grammars say ``beyond_first``, it estimates
    that a branch after the first one contains it.

    Parameters
    ----------
    question_of: for each answer the row of ``prompts`` and ``grammars`` that it answers; by default one answer a row.
    memory_of: for each answer its memory, ascending; by default equal groups in turn.
    lanes: answers of one memory that are written side by side; the others wait (see :mod:`protscribe.generation.lanes`).
        0: all at once.
    width: columns a pass reads, at most. With more than one, those after the first hold guesses, and a guess stands if it
        is what the decoder chooses when it has read what comes before: the same tokens in fewer passes (Jacobi decoding,
        Santilli et al. 2023, https://arxiv.org/abs/2305.10427). How many are tried follows from how many stood.
    """
    questions, prompt_columns = prompts.tokens_BP.shape
    device, memories, steps = prompts.start_B.device, len(memory.mask_KM), grammars.longest + 1
    question_of = question_of or range(questions)
    memory_of = memory_of or [place * memories // questions for place in question_of]
    columns = prompt_columns + steps + 2 * width
    queue = Queue.of(prompts, question_of, memory_of, memories, columns, uniform_BT)
    each = min(lanes or queue.longest, queue.longest)
    some_wait = queue.longest > each
    caches = decoder.caches(memories * each, columns)
    done = Found.nothing(len(queue.text_JT), grammars.numbers_Bn.shape[1], device)
    pace = Pace(memories * each, width, device.type)
    now = Lanes.idle(queue, each, prompts, grammars).refilled(queue, prompts, grammars)
    # The first prompts are read in one pass, those of answers that have waited column by column.
    now = write(decoder, memory, queue, now, caches, prompt_columns, prompt_columns)
    passes, reach = 1, prompt_columns
    most = None if some_wait or width > 1 else steps
    while passes != most:
        ahead = pace.passes if most is None else min(pace.passes, most - passes)
        for _ in range(ahead):
            reach = min(reach + pace.width, columns)
            seen = min(-(-reach // CACHE_STEP) * CACHE_STEP, columns)
            now = write(decoder, memory, queue, now, caches, pace.width, seen)
        passes += ahead
        if some_wait:
            now.hand_over(done)
            now = now.refilled(queue, prompts, grammars)
        if passes != most:
            live, far, read, took = map(int, read_back("finished", now.progress())[0])
            if not live:
                break
            reach = far
            pace.learn(read, took)
    now.hand_over(done)
    return _decoded(queue, prompts, done, steps, passes)


def write(
    decoder: Decoder,
    memory: Memory,
    queue: Queue,
    lanes: Lanes,
    caches: list[Cache],
    width: int,
    seen: int,
) -> Lanes:
    """One pass: every lane reads ``width`` columns, and goes on by those whose tokens are what comes after the ones before.

    The column after each one read gets the token that was chosen, where it is no column of the prompt: behind a wrong guess
    that is the next guess. ``seen`` bounds the columns of the caches that have been written, this pass included.
    """
    answer_B, start_B = lanes.answer_B, lanes.prompts.start_B
    columns_BW = lanes.column_B[:, None] + torch.arange(width, device=start_B.device)
    tokens_BW = queue.text_JT[answer_B[:, None], columns_BW]
    step_BW = columns_BW - (start_B - 1)[:, None]
    aligned_BW = lanes.prompts.aligned_along(step_BW)
    told_BD = lanes.prompts.told_by(decoder)
    states_BWD = decoder(tokens_BW, aligned_BW, memory, columns_BW, caches, told_BD=told_BD, seen=seen)
    scores_BWS = decoder.choices(states_BWD, memory)
    registers, found, live_B, stands_B = lanes.registers, lanes.found, lanes.live_B, lanes.live_B
    read_B = torch.zeros_like(answer_B)
    for place in range(width):
        step_B, next_B = step_BW[:, place], columns_BW[:, place] + 1
        legal = renormalise(scores_BWS[:, place], lanes.grammars.allowed(registers))
        choice_B = _choose(legal, queue, answer_B, step_B)
        choosing_B = stands_B & (step_B >= 0)
        found = _add(found, legal, choice_B, choosing_B, registers, lanes.grammars)
        ended_B = choosing_B & (choice_B == EOS)
        known_B = queue.text_JT[answer_B, next_B]
        token_B = torch.where(lanes.live_B & (step_B >= 0), choice_B, known_B)
        queue.text_JT[answer_B, next_B] = token_B
        advanced = lanes.grammars.advance(registers, choice_B)
        registers = advanced.where(choosing_B & ~ended_B, registers)
        read_B = read_B + stands_B
        live_B = live_B & ~ended_B
        if place + 1 < width:
            stands_B = stands_B & ~ended_B & (tokens_BW[:, place + 1] == token_B)
    if width > 1:
        # Beyond the last column read, the guess is that the answer goes on as it is: residues' labels come in runs.
        further_BW = columns_BW[:, 1:] + width
        old_BW = queue.text_JT[answer_B[:, None], further_BW]
        guess_BW = torch.where((lanes.live_B & (step_BW[:, -1] >= 0))[:, None], choice_B[:, None], old_BW)
        queue.text_JT[answer_B[:, None], further_BW] = guess_BW
    return lanes._replace(
        column_B=lanes.column_B + read_B,
        live_B=live_B,
        registers=registers,
        found=found,
        read_B=lanes.read_B + read_B,
        passes_B=lanes.passes_B + lanes.live_B,
    )


def _choose(legal: Legal, queue: Queue, answer_B: Tensor, step_B: Tensor) -> Tensor:
    """The most probable choice, or a drawn one where there is a number to draw it with."""
    best_B = legal.log_BS.argmax(dim=-1)
    if queue.uniform_JT is None:
        return best_B
    last = queue.uniform_JT.shape[1] - 1
    uniform_B = queue.uniform_JT[answer_B, step_B.clamp(0, last)]
    return torch.where(uniform_B >= 0, draw(legal.log_BS, uniform_B), best_B)


def _add(
    found: Found,
    legal: Legal,
    choice_B: Tensor,
    choosing_B: Tensor,
    registers: State,
    grammars: CompiledGrammars,
) -> Found:
    """What is known after one more token, in the rows that have chosen one."""
    chance_B = legal.log_BS.gather(1, choice_B[:, None])[:, 0]
    inclusion_Bn = found.inclusion_n
    if grammars.ascending:
        hazards_Bn = _hazards(legal, choice_B, registers, grammars)
        inclusion_Bn = inclusion_Bn + torch.where(choosing_B[:, None], hazards_Bn, 0.0)
    return Found(
        found.log_probability + torch.where(choosing_B, chance_B, 0.0),
        found.off_grammar + torch.where(choosing_B, legal.off_grammar_B, 0.0),
        found.tokens + choosing_B,
        inclusion_Bn,
    )


def _decoded(queue: Queue, prompts: Prompts, done: Found, steps: int, passes: int) -> Decoded:
    answers = len(queue.text_JT) - 1
    start_B = prompts.start_B[queue.question_J[:answers]]
    columns_BT = start_B[:, None] + torch.arange(steps, device=start_B.device)
    choices_BT = queue.text_JT[:answers].gather(1, columns_BT)
    going_on_BT = (choices_BT == EOS).cumsum(dim=1) == 0
    log_B, off_B, tokens_B, inclusion_Bn = (value[:answers] for value in done)
    return Decoded(
        torch.where(going_on_BT, choices_BT, PAD),
        going_on_BT.sum(dim=1),
        log_B,
        off_B / tokens_B.clamp(min=1),
        inclusion_Bn,
        passes,
    )


def prompt_inputs(prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Prompt tokens, and the aligned places of their columns: the last one looks at the first answer's residue."""
    columns_P = torch.arange(prompts.tokens_BP.shape[1], device=prompts.tokens_BP.device)
    step_BP = columns_P - (prompts.start_B - 1)[:, None]
    return prompts.tokens_BP, torch.where(step_BP == 0, prompts.aligned_along(step_BP), -1)


def _hazards(legal: Legal, choice_B: Tensor, registers: State, grammars: CompiledGrammars) -> Tensor:
    """``[B, n]``: the hazard of every rank that this step's choice takes or passes by; 0 elsewhere."""
    numbers_Bn = grammars.numbers_Bn
    chances_Bn = legal.log_BS.gather(1, numbers_Bn.clamp(min=0)).exp() * (numbers_Bn >= 0)
    end_B1 = legal.log_BS[:, EOS : EOS + 1].exp()
    from_here_Bn = chances_Bn.flip(1).cumsum(1).flip(1) + end_B1
    hazard_Bn = torch.where(from_here_Bn > 0, chances_Bn / from_here_Bn, 0.0)
    rank_n = torch.arange(numbers_Bn.shape[1], device=numbers_Bn.device)
    chosen_rank_B = grammars.ranks_BS.gather(1, choice_B[:, None])[:, 0]
    stop_B = torch.where(choice_B == EOS, numbers_Bn.shape[1], chosen_rank_B)
    crossed_Bn = (rank_n > registers.last[:, None]) & (rank_n <= stop_B[:, None])
    if grammars.beyond_first:
        parents_Bn = grammars.parents_BS.gather(1, numbers_Bn.clamp(min=0))
        continues_Bn = (registers.count == 1)[:, None] & (parents_Bn == registers.last[:, None])
        crossed_Bn = crossed_Bn & ~continues_Bn & (registers.count > 0)[:, None]
    return hazard_Bn * (crossed_Bn & (grammars.form == ASCENDING)[:, None])
