"""What the model would put on forbidden symbols along a known answer: constraint must not hide ignorance.

Shape legend: B questions, T columns, S choices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from protscribe.data.batch import Batch
from protscribe.data.lexicon import Lexicon
from protscribe.generation.constraint import compile_grammars


@torch.no_grad()
def off_grammar_mass(logits_BTS: Tensor, batch: Batch, lexicon: Lexicon, most: int = 64) -> Tensor:
    """The mean probability, ``[B]``, that teacher-forced logits give to choices that the grammar forbids.

    The mean is over the first ``most`` tokens of each true answer, the end symbol included. ``batch`` holds
    answers, ``logits_BTS`` are what ``model(batch)`` gave for it.
    """
    records = [question.record for question in batch.questions]
    grammars = [question.task.codec.grammar(question.record) for question in batch.questions]
    compiled = compile_grammars(grammars, lexicon, records, logits_BTS.shape[-1], logits_BTS.device)
    rows = torch.arange(len(grammars), device=logits_BTS.device)
    last = batch.targets_BT.shape[1] - 1
    registers = compiled.start()
    total_B = torch.zeros(len(grammars), device=logits_BTS.device)
    count_B = torch.zeros_like(total_B)
    for step in range(min(most, compiled.longest + 1)):
        columns_B = (batch.start_B - 1 + step).clamp(max=last)
        # Padding comes after the end symbol, and a target of 0 is padding.
        targets_B = batch.targets_BT[rows, columns_B]
        live_B = (targets_B != 0) & (batch.start_B - 1 + step <= last)
        chances_BS = logits_BTS[rows, columns_B].softmax(-1)
        outside_B = (chances_BS * ~compiled.allowed(registers)).sum(-1)
        total_B += torch.where(live_B, outside_B, 0.0)
        count_B += live_B
        advanced = compiled.advance(registers, targets_B)
        registers = advanced.where(live_B, registers)
    return total_B / count_B.clamp(min=1)
