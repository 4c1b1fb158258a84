"""Rows of answers while they are written, one token a step: where each stands in its grammar, its cache, its given beginning.

What beam search and sampling share. Nothing here asks the device anything, and all shapes are static.

Shape legend: B rows (K * R: R neighbouring rows ask the same memory), S choices, T answer columns, P prompt columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

from protscribe.generation.constraint import CompiledGrammars
from protscribe.generation.lanes import Prompts
from protscribe.generation.search import Legal, prompt_inputs, renormalise
from protscribe.nn.decoder import Decoder, Memory
from protscribe.vocabulary import PAD

FREE = -1
"""Stands in a row's forced choices where it may choose."""


class Writing:
    """B rows that are written side by side.

    ``forced_BT`` holds the choices that an answer must begin with, :data:`FREE` after them; they must be allowed. A forced
    token has probability 1, so that all probabilities are those given the beginning.
    """

    def __init__(
        self,
        decoder: Decoder,
        memory: Memory,
        prompts: Prompts,
        grammars: CompiledGrammars,
        forced_BT: Tensor | None = None,
    ) -> None:
        rows, columns = prompts.tokens_BP.shape
        self.decoder, self.memory, self.prompts, self.grammars = decoder, memory, prompts, grammars
        self.forced_BT = forced_BT
        self.steps = grammars.longest + 1
        self.step = 0
        self.registers = grammars.start()
        self.caches = decoder.caches(rows, columns + self.steps)
        columns_BP = torch.arange(columns, device=prompts.tokens_BP.device).expand(rows, columns)
        self.told_BD = prompts.told_by(decoder)
        states_BPD = decoder(
            *prompt_inputs(prompts), memory, columns_BP, self.caches, told_BD=self.told_BD, seen=columns
        )
        last_B11 = (prompts.start_B - 1)[:, None, None].expand(-1, 1, states_BPD.shape[-1])
        self._state_B1D = states_BPD.gather(1, last_B11)

    def legal(self) -> Legal:
        """The distribution of the next token. Of rows that have ended it may be undefined (NaN)."""
        allowed_BS = self.grammars.allowed(self.registers)
        if self.forced_BT is not None and self.step < self.forced_BT.shape[1]:
            forced_B1 = self.forced_BT[:, self.step : self.step + 1]
            only_BS = torch.zeros_like(allowed_BS).scatter(1, forced_B1.clamp(min=0), True)
            allowed_BS = allowed_BS & (only_BS | (forced_B1 == FREE))
        return renormalise(self.decoder.choices(self._state_B1D, self.memory)[:, 0], allowed_BS)

    def write(self, choice_B: Tensor, ended_B: Tensor) -> None:
        """Adds one token to every row that has not ended; ``choice_B`` of the others means nothing."""
        advanced = self.grammars.advance(self.registers, choice_B)
        self.registers = self.registers.where(ended_B, advanced)
        column_B1 = (self.prompts.start_B + self.step)[:, None]
        self.step += 1
        token_B1 = torch.where(ended_B, PAD, choice_B)[:, None]
        aligned_B1 = self.prompts.aligned_at(self.step)[:, None]
        seen = self.prompts.tokens_BP.shape[1] + self.step
        self._state_B1D = self.decoder(
            token_B1, aligned_B1, self.memory, column_B1, self.caches, told_BD=self.told_BD, seen=seen
        )

    def rearrange(self, rows_B: Tensor) -> None:
        """Row b goes on from where row ``rows_B[b]`` stands, which must ask the same question."""
        self.registers = self.registers.pick(rows_B)
        self.caches = [cache.pick(rows_B) for cache in self.caches]
