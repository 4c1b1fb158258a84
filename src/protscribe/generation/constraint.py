"""Answer grammars as tensors: what may come next, for a whole batch, without Python per token or per row.

``protscribe.grammar.allowed`` defines every grammar; this file runs the same five forms. The insight that
makes one program serve all: in each form what may come next is a *window of ranks*. A token has a rank in its
domain; the registers of a row (a handful of integers) give the lowest and the highest rank, one rank that is
excluded, and the window in which a node's parent must lie.

Shape legend: B rows, S = V symbols + M places of memory, W digits, n ranks (padded).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from protscribe.data.lexicon import Lexicon
from protscribe.grammar import Ascending, Digits, Domain, Grammar, Pairs, Positions, Repeat, Segments, Symbols
from protscribe.records import ProteinRecord
from protscribe.transfer import upload
from protscribe.vocabulary import EOS

REPEAT, ASCENDING, DIGITS, SEGMENTS, PAIRS = range(5)
NO_LIMIT = 2**30


class State(NamedTuple):
    """The registers of every row, all ``[B]`` and int64.

    ``phase``: place inside a two-token record (segments: 0 label, 1 end; pairs: 0 row, 1 column). ``count``:
    tokens, branches or records done. ``last``: rank of the last token (segments: last end; pairs: last
    column). ``held``: segments: last label; pairs: current row. ``flag``: digits: still at the bound;
    ascending: a child must follow; pairs: same row as before.
    """

    phase: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody asks of registers
    last: Tensor
    held: Tensor
    flag: Tensor

    def pick(self, rows: Tensor) -> State:
        return State(*(register[rows] for register in self))

    def where(self, kept_B: Tensor, other: State) -> State:
        """These registers in the rows of ``kept_B`` (bool), the other ones elsewhere."""
        return State(*(torch.where(kept_B, mine, new) for mine, new in zip(self, other, strict=True)))


@lru_cache(maxsize=512)
def _symbol_ids(domain: Symbols, lexicon: Lexicon) -> np.ndarray:
    return np.array(lexicon.vocabulary.ids(domain.symbols), dtype=np.int64)


def domain_numbers(domain: Domain, lexicon: Lexicon, record: ProteinRecord) -> np.ndarray:
    """The number of each token of a domain, in rank order, int64 ``[n]``."""
    if isinstance(domain, Symbols):
        return _symbol_ids(domain, lexicon)
    if lexicon.positions == "pointers":
        first = len(lexicon.vocabulary) + sum(record.lengths[: domain.chain])
        return first + np.array(domain.indices, dtype=np.int64)
    return np.array(lexicon.numbers(domain.tokens(), record), dtype=np.int64)


def domains_of(grammar: Grammar) -> tuple[Domain, Domain | None]:
    """The domains of a grammar's first and second phase."""
    match grammar:
        case Repeat() | Ascending():
            return grammar.domain, None
        case Digits():
            return grammar.digits, None
        case Segments():
            return grammar.labels, Positions(grammar.chain, tuple(range(grammar.length)))
        case Pairs():
            return (
                Positions(grammar.rows_chain, tuple(range(grammar.rows))),
                Positions(grammar.columns_chain, tuple(range(grammar.columns))),
            )


def _constants(grammar: Grammar) -> dict[str, int]:
    """The integers that a row's program reads besides its registers."""
    match grammar:
        case Repeat():
            size = len(grammar.domain.tokens())
            return {"form": REPEAT, "low": grammar.low, "high": grammar.high, "size": size}
        case Ascending():
            size = len(grammar.domain.tokens())
            return {"form": ASCENDING, "low": grammar.low, "high": min(grammar.high, NO_LIMIT), "size": size}
        case Digits():
            return {"form": DIGITS, "high": len(grammar.bound), "size": len(grammar.digits.symbols)}
        case Segments():
            return {
                "form": SEGMENTS,
                "high": min(grammar.high, NO_LIMIT),
                "size": len(grammar.labels.symbols),
                "columns": grammar.length,
            }
        case Pairs():
            return {
                "form": PAIRS,
                "high": min(grammar.high, NO_LIMIT),
                "size": grammar.last_row + 1,
                "columns": grammar.columns,
                "separation": grammar.separation,
            }


@dataclass(frozen=True)
class CompiledGrammars:
    """The grammars of B rows. Build with :func:`compile_grammars`; all tensors are on one device and of static shape.

    ``ranks_BS`` and ``second_BS`` (int32) hold each choice's rank in the first and second domain, -1 outside;
    ``parents_BS`` (int32) and ``inner_BS`` (bool) the forest of ascending rows. ``numbers_Bn`` is the choice
    of each rank of the first domain (-1: padding). ``longest`` bounds the tokens of every row's answer, and
    ``ascending`` says whether there is an ascending row at all; ``beyond_first``, that hazards are wanted only of what comes
    after an ascending answer's first branch.
    """

    ranks_BS: Tensor
    second_BS: Tensor
    parents_BS: Tensor
    inner_BS: Tensor
    bound_BW: Tensor
    numbers_Bn: Tensor
    form: Tensor
    low: Tensor
    high: Tensor
    size: Tensor
    columns: Tensor
    separation: Tensor
    longest: int
    ascending: bool
    beyond_first: bool = False

    def pick(self, rows: Tensor) -> CompiledGrammars:
        """The grammars of chosen rows, copied."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = value[rows]
        return CompiledGrammars(**values)

    def repeat(self, times: int) -> CompiledGrammars:
        """Every row ``times`` times in a row."""
        return self.pick(torch.arange(len(self.form), device=self.form.device).repeat_interleave(times))

    def start(self) -> State:
        zero = torch.zeros_like(self.form)
        return State(zero, zero.clone(), zero - 1, zero - 1, (self.form == DIGITS).long())

    def allowed(self, state: State) -> Tensor:
        """Which choices may come next, bool ``[B, S]``; the column of ``<eos>`` says whether the answer may end."""
        low, high, parent_low, parent_high, end = self._window(state)
        ranks_BS = torch.where((state.phase == 1)[:, None], self.second_BS, self.ranks_BS)
        excluded = torch.where((self.form == SEGMENTS) & (state.phase == 0), state.held, -1)
        allowed_BS = (
            (ranks_BS >= low[:, None])
            & (ranks_BS <= high[:, None])
            & (ranks_BS != excluded[:, None])
            & (self.parents_BS >= parent_low[:, None])
            & (self.parents_BS <= parent_high[:, None])
        )
        allowed_BS[:, EOS] = end
        return allowed_BS

    def _window(self, state: State) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        phase, count, last, held, flag = state
        form, is_ascending, is_pairs = self.form, self.form == ASCENDING, self.form == PAIRS
        is_segments = form == SEGMENTS
        first, second, flagged = phase == 0, phase == 1, flag == 1
        full = count >= self.high
        top = self.size - 1

        # Lowest rank: above the last token (ascending); at the row in hand, or below it where its columns
        # are used up (pairs).
        low = torch.zeros_like(count)
        low = torch.where(is_ascending, last + 1, low)
        row_from = torch.where(last < self.columns - 1, held, held + 1)
        low = torch.where(is_pairs & first & (count > 0), row_from, low)
        column_from = torch.where(
            flagged,
            last + 1,
            torch.where(self.separation > 0, held + self.separation, torch.zeros_like(held)),
        )
        low = torch.where(is_pairs & second, column_from, low)
        end_from = torch.where(count + 1 >= self.high, self.columns - 1, last + 1)
        low = torch.where(is_segments & second, end_from, low)

        # Highest rank: the domain's last; none where the answer is full; the bound's digit while all digits
        # so far are the bound's.
        high = torch.where(full & ~is_ascending & ~is_segments, -1, top)
        owed = (self.low - count - 1).clamp(min=0)
        high = torch.where(is_ascending, torch.where(self.high > 0, top - owed, -1), high)
        digit = self.bound_BW.gather(1, count.clamp(max=self.bound_BW.shape[1] - 1)[:, None])[:, 0]
        high = torch.where((form == DIGITS) & flagged & ~full, digit, high)
        covered = last >= self.columns - 1
        high = torch.where(is_segments & first & covered, -1, high)
        high = torch.where(second, self.columns - 1, high)

        # A node's parent has been written already; it is the last token where a child must follow or no
        # branch may begin.
        parent_high = torch.where(is_ascending, last, NO_LIMIT)
        must_continue = is_ascending & (flagged | full)
        parent_low = torch.where(must_continue, last, -1)

        end = count >= self.low
        end = torch.where(is_ascending, end & ~flagged, end)
        end = torch.where(form == DIGITS, full, end)
        end = torch.where(is_segments, first & covered, end)
        end = torch.where(is_pairs, first, end)
        return low, high, parent_low, parent_high, end

    def advance(self, state: State, choice_B: Tensor) -> State:
        """The registers after ``choice_B`` (an allowed choice that is not the end; anything else leaves
        garbage, never an error).
        """
        phase, count, last, held, flag = state
        form, first = self.form, state.phase == 0
        ranks_BS = torch.where((phase == 1)[:, None], self.second_BS, self.ranks_BS)
        choice_B1 = choice_B[:, None]
        rank = ranks_BS.gather(1, choice_B1)[:, 0].long()
        parent = self.parents_BS.gather(1, choice_B1)[:, 0].long()
        inner = self.inner_BS.gather(1, choice_B1)[:, 0].long()
        is_ascending, is_digits = form == ASCENDING, form == DIGITS
        is_segments, is_pairs = form == SEGMENTS, form == PAIRS
        in_record = is_segments | is_pairs

        begins_branch = (count == 0) | (parent != last)
        grown = torch.where(is_ascending, begins_branch.long(), torch.where(in_record & first, 0, 1))
        digit = self.bound_BW.gather(1, count.clamp(max=self.bound_BW.shape[1] - 1)[:, None])[:, 0]
        flag_after = torch.where(is_digits, flag * (rank == digit), flag)
        flag_after = torch.where(is_ascending, inner, flag_after)
        flag_after = torch.where(is_pairs & first, ((count > 0) & (rank == held)).long(), flag_after)
        return State(
            phase=torch.where(in_record, 1 - phase, phase),
            count=count + grown,
            last=torch.where(in_record & first, last, rank),
            held=torch.where(in_record & first, rank, held),
            flag=flag_after,
        )


def compile_grammars(
    grammars: Sequence[Grammar],
    lexicon: Lexicon,
    records: Sequence[ProteinRecord],
    choices: int,
    device: torch.device | str = "cpu",
) -> CompiledGrammars:
    """The tensor form of one grammar a row. ``choices`` is S; records say where each chain's residues stand."""
    rows = len(grammars)
    shape = (rows, choices)
    ranks, second = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
    parents, inner = np.full(shape, -1, np.int32), np.zeros(shape, bool)
    bounds = [grammar.bound if isinstance(grammar, Digits) else (0,) for grammar in grammars]
    bound = np.zeros((rows, max(map(len, bounds))), np.int64)
    first_numbers = []
    constants = {
        name: np.zeros(rows, np.int64) for name in ("form", "low", "high", "size", "columns", "separation")
    }
    for row, (grammar, record) in enumerate(zip(grammars, records, strict=True)):
        domain, other = domains_of(grammar)
        numbers = domain_numbers(domain, lexicon, record)
        first_numbers.append(numbers)
        ranks[row, numbers] = np.arange(len(numbers))
        if other is not None:
            numbers_2 = domain_numbers(other, lexicon, record)
            second[row, numbers_2] = np.arange(len(numbers_2))
        if isinstance(grammar, Ascending) and grammar.parents:
            parents[row, numbers] = grammar.parents
        if isinstance(grammar, Ascending) and grammar.inner:
            inner[row, numbers] = grammar.inner
        bound[row, : len(bounds[row])] = bounds[row]
        for name, value in _constants(grammar).items():
            constants[name][row] = value
    table = np.full((rows, max(1, *map(len, first_numbers))), -1, np.int64)
    for row, numbers in enumerate(first_numbers):
        table[row, : len(numbers)] = numbers
    arrays = {
        "ranks_BS": ranks,
        "second_BS": second,
        "parents_BS": parents,
        "inner_BS": inner,
        "bound_BW": bound,
        "numbers_Bn": table,
        **constants,
    }
    tensors: dict[str, Any] = {
        name: upload(torch.from_numpy(array), device) for name, array in arrays.items()
    }
    return CompiledGrammars(
        **tensors,
        longest=max(grammar.longest for grammar in grammars),
        ascending=any(isinstance(grammar, Ascending) for grammar in grammars),
    )
