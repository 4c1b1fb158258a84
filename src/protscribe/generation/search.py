"""Constrained decoding, one token at a time, for a whole batch: greedy and sampled rows side by side.

The loop holds no Python per row and asks the device nothing, except, every few steps, whether all rows have ended.

Shape legend: B rows (K * R: R neighbouring rows ask the same memory), S choices, T answer columns, P prompt
columns, n ranks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protscribe.generation.constraint import ASCENDING, CompiledGrammars, State
from protscribe.nn.decoder import Decoder, Memory
from protscribe.vocabulary import EOS, PAD

CHECK_EVERY = 16
"""Steps between two questions to the device whether all rows have ended, the one synchronisation of the loop."""


@dataclass(frozen=True)
class Prompts:
    """What is asked, one row each: ``tokens_BP`` with ``start_B`` real columns, and where dense answers are aligned.

    ``aligned_from_B`` is the memory place of the residue that the first answer token is about (-1: not dense) and
    ``aligned_count_B`` how many residues follow from there.
    """

    tokens_BP: Tensor
    start_B: Tensor
    aligned_from_B: Tensor
    aligned_count_B: Tensor

    def repeat(self, times: int) -> Prompts:
        return Prompts(*(value.repeat_interleave(times, dim=0) for value in vars(self).values()))

    def aligned_at(self, step: Tensor | int) -> Tensor:
        """The memory place aligned with answer token ``step`` of every row, -1 for none."""
        dense = (self.aligned_from_B >= 0) & (step < self.aligned_count_B)
        return torch.where(dense, self.aligned_from_B + step, -1)


@dataclass(frozen=True)
class Decoded:
    """Answers: ``choices_BT`` (numbers; padded after the end), ``lengths_B`` without the end symbol.

    ``log_probability_B`` is the natural log of the whole answer's probability, renormalised over allowed choices, and
    ``off_grammar_B`` the mean probability that the model put on forbidden ones. ``inclusion_Bn`` holds, for
    ascending rows, the hazard of each rank at the step where the answer took it or passed it by (see
    :func:`walk`).
    """

    choices_BT: Tensor
    lengths_B: Tensor
    log_probability_B: Tensor
    off_grammar_B: Tensor
    inclusion_Bn: Tensor


@dataclass(frozen=True)
class Legal:
    """A step's distribution over allowed choices: ``log_BS`` renormalised (``-inf`` where forbidden), and
    what was outside.
    """

    log_BS: Tensor
    off_grammar_B: Tensor


def renormalise(scores_BS: Tensor, allowed_BS: Tensor) -> Legal:
    """The model's distribution restricted to the allowed choices, and the mass it had put on the others."""
    log_all_BS = scores_BS.log_softmax(dim=-1)
    kept_BS = log_all_BS.masked_fill(~allowed_BS, float("-inf"))
    log_mass_B1 = kept_BS.logsumexp(dim=-1, keepdim=True)
    return Legal(kept_BS - log_mass_B1, (1 - log_mass_B1[:, 0].exp()).clamp(0, 1))


def draw(log_BS: Tensor, uniform_B: Tensor) -> Tensor:
    """One choice a row by inversion of its cumulative distribution; ``uniform_B`` in [0, 1).

    One number a row decides, so that a draw depends neither on the batch nor on the device's random state.
    """
    below_BS = log_BS.exp().cumsum(dim=-1)
    total_B1 = below_BS[:, -1:]
    chosen_B = (below_BS <= uniform_B[:, None] * total_B1).sum(dim=-1)
    last_B = (below_BS < total_B1).sum(dim=-1)
    return torch.minimum(chosen_B, last_B)


def walk(
    decoder: Decoder,
    memory: Memory,
    prompts: Prompts,
    grammars: CompiledGrammars,
    uniform_BT: Tensor | None = None,
) -> Decoded:
    """Decodes every row to its end.

    A row whose uniform numbers are negative, and every row where ``uniform_BT`` is ``None``, takes the most
    probable allowed token at each step; the others draw. For ascending rows the *hazard* of a rank is the
    probability that it comes next, given that the answer has got to it: p(rank) / (p(this rank or a later
    one) + p(end)). Averaged over drawn rows it estimates that the answer contains the rank, with less
    variance than counting drawn answers.
    """
    rows, prompt_columns = prompts.tokens_BP.shape
    steps = grammars.longest + 1
    caches = decoder.caches(rows, prompt_columns + steps)
    states_BPD = decoder(*prompt_inputs(prompts), memory, _columns(prompts.tokens_BP), caches)
    last_B = prompts.start_B - 1
    state_BD = states_BPD[torch.arange(rows, device=last_B.device), last_B]
    registers = grammars.start()
    device = state_BD.device
    ended_B = torch.zeros(rows, dtype=torch.bool, device=device)
    choices_BT = torch.full((rows, steps), PAD, dtype=torch.long, device=device)
    log_B, off_B, count_B = (torch.zeros(rows, device=device) for _ in range(3))
    inclusion_Bn = torch.zeros(grammars.numbers_Bn.shape, device=device)
    for step in range(steps):
        legal = renormalise(decoder.choices(state_BD[:, None], memory)[:, 0], grammars.allowed(registers))
        choice_B = legal.log_BS.argmax(dim=-1)
        if uniform_BT is not None:
            uniform_B = uniform_BT[:, step]
            choice_B = torch.where(uniform_B >= 0, draw(legal.log_BS, uniform_B), choice_B)
        live_B = ~ended_B
        if grammars.ascending:
            hazards_Bn = _hazards(legal, choice_B, registers, grammars)
            inclusion_Bn = inclusion_Bn + torch.where(live_B[:, None], hazards_Bn, 0.0)
        log_B = log_B + torch.where(live_B, legal.log_BS.gather(1, choice_B[:, None])[:, 0], 0.0)
        off_B = off_B + torch.where(live_B, legal.off_grammar_B, 0.0)
        count_B = count_B + live_B
        ended_B = ended_B | (choice_B == EOS)
        choices_BT[:, step] = torch.where(ended_B, PAD, choice_B)
        if step + 1 == steps or (step % CHECK_EVERY == CHECK_EVERY - 1 and bool(ended_B.all())):
            break
        advanced = grammars.advance(registers, choice_B)
        registers = State(
            *(torch.where(ended_B, old, new) for old, new in zip(registers, advanced, strict=True))
        )
        column_B1 = (prompts.start_B + step)[:, None]
        token_B1 = torch.where(ended_B, PAD, choice_B)[:, None]
        state_BD = decoder(token_B1, prompts.aligned_at(step + 1)[:, None], memory, column_B1, caches)[:, 0]
    lengths_B = (choices_BT != PAD).sum(dim=-1)
    return Decoded(choices_BT, lengths_B, log_B, off_B / count_B.clamp(min=1), inclusion_Bn)


def _columns(tokens_BP: Tensor) -> Tensor:
    return torch.arange(tokens_BP.shape[1], device=tokens_BP.device).expand(tokens_BP.shape)


def prompt_inputs(prompts: Prompts) -> tuple[Tensor, Tensor]:
    """Prompt tokens, and the aligned places of their columns: the last one looks at the first answer's residue."""
    columns_BP = _columns(prompts.tokens_BP)
    is_last_BP = columns_BP == (prompts.start_B - 1)[:, None]
    return prompts.tokens_BP, torch.where(is_last_BP, prompts.aligned_at(0)[:, None], -1)


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
    return hazard_Bn * (crossed_Bn & (grammars.form == ASCENDING)[:, None])
