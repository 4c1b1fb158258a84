"""Answers in a tree of classes: the first path of an answer is followed, only what comes after it is drawn.

Most answers are one path: an EC number, a fold. A few drawn answers see few of the thousands of leaves of a tree; one column
for each inner node says what all of its children have.

Shape legend: B questions, K inner nodes that are followed, R = B * K rows, P prompt columns, T columns, n ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from protscribe.generation.constraint import CompiledGrammars
from protscribe.generation.group import Answered, Asking, Group
from protscribe.generation.lanes import Prompts
from protscribe.generation.search import renormalise
from protscribe.generation.written import COLUMNS, write_answers
from protscribe.grammar import Ascending, Grammar
from protscribe.nn.decoder import Decoder, Memory
from protscribe.vocabulary import PAD

SCORES_A_COLUMN = 256
"""Scores that are held at once, for each of the tokens that are."""


def is_tree(grammar: Grammar) -> bool:
    """Whether answers are paths in a forest of more than one level."""
    return isinstance(grammar, Ascending) and grammar.depth > 1


def path_inclusion(decoder: Decoder, group: Group, settings: Asking) -> list[Answered]:
    """The probability that the answer contains each node: that its first path does (:func:`first_paths`), and that a later one
    does, as drawn answers say. Standard errors are those of the second part.
    """
    beyond = replace(group, grammars=replace(group.grammars, beyond_first=True))
    kinds = ["inclusion"] * len(group.questions)
    return write_answers(decoder, beyond, kinds, settings, known_Bn=first_paths(decoder, group, settings))


def first_paths(decoder: Decoder, group: Group, settings: Asking) -> Tensor:
    """``[B, n]``: the probability that an answer's first path passes each node.

    Level by level the ``settings.nodes`` likeliest inner nodes are followed; exact where there are no more than that.
    Children of the others share what their parent has evenly.
    """
    widths = [min(width, settings.nodes) for width in inner_nodes(group.plain_grammars)]
    memories = len(group.memory.mask_KM)
    each = len(group.questions) // memories
    columns = group.prompts.tokens_BP.shape[1] + len(widths)
    budget = settings.columns or COLUMNS.get(group.prompts.start_B.device.type, COLUMNS["cuda"])
    choices = group.grammars.ranks_BS.shape[1]
    rows = min(budget // columns, SCORES_A_COLUMN * budget // choices) // max(widths)
    step = max(1, rows // each)
    found = []
    for first in range(0, memories, step):
        stop = min(first + step, memories)
        asked_B = torch.arange(first * each, stop * each, device=group.prompts.start_B.device)
        found.append(
            _follow(
                decoder,
                group.memory.span(first, stop),
                group.prompts.pick(asked_B),
                group.grammars.pick(asked_B),
                widths,
            )
        )
    return torch.cat(found).exp()


def inner_nodes(grammars: Sequence[Grammar]) -> list[int]:
    """Of each level from the top: how many nodes have children, in the grammar that has most."""
    counts = [grammar.inner_nodes for grammar in grammars if isinstance(grammar, Ascending)]
    return [max(level) for level in zip_longest(*counts, fillvalue=0)]


class Forest(NamedTuple):
    """The trees of B rows: of each rank its parent (-1: none), its depth from 0 on, whether it has children, and the natural
    log of the share it gets of a parent that was not followed.
    """

    parents_Bn: Tensor
    depth_Bn: Tensor
    has_children_Bn: Tensor
    log_share_Bn: Tensor

    @classmethod
    def of(cls, grammars: CompiledGrammars, levels: int) -> Forest:
        """Of the rows' grammars, which have ``levels`` levels at most."""
        numbers_Bn = grammars.numbers_Bn.clamp(min=0)
        known_Bn = grammars.numbers_Bn >= 0
        parents_Bn = torch.where(known_Bn, grammars.parents_BS.gather(1, numbers_Bn).long(), -1)
        above_Bn, depth_Bn = parents_Bn, torch.zeros_like(parents_Bn)
        for _ in range(levels - 1):
            depth_Bn = depth_Bn + (above_Bn >= 0)
            above_Bn = torch.where(above_Bn >= 0, parents_Bn.gather(1, above_Bn.clamp(min=0)), -1)
        has_parent_Bn = (parents_Bn >= 0).long()
        children_Bn = torch.zeros_like(parents_Bn).scatter_add(1, parents_Bn.clamp(min=0), has_parent_Bn)
        # An answer that may stop at a node has one way more from there.
        ways_Bn = children_Bn + ~grammars.inner_BS.gather(1, numbers_Bn)
        log_share_Bn = -ways_Bn.gather(1, parents_Bn.clamp(min=0)).clamp(min=1).log()
        return cls(parents_Bn, depth_Bn, children_Bn > 0, log_share_Bn)


def _follow(
    decoder: Decoder, memory: Memory, prompts: Prompts, grammars: CompiledGrammars, widths: Sequence[int]
) -> Tensor:
    """``[B, n]``: natural logs of what :func:`first_paths` gives. ``widths``: nodes to be followed at each level."""
    forest = Forest.of(grammars, len(widths) + 1)
    nothing_B1 = torch.full_like(prompts.start_B, -1)[:, None]
    log_Bn = _next_nodes(decoder, memory, prompts, grammars, forest, nothing_B1, 0)[:, 0]
    log_Bn = torch.where((forest.depth_Bn == 0) & (grammars.numbers_Bn >= 0), log_Bn, float("-inf"))
    for level, width in enumerate(widths, start=1):
        open_Bn = (forest.depth_Bn == level - 1) & forest.has_children_Bn
        reached_BK, node_BK = torch.where(open_Bn, log_Bn, float("-inf")).topk(width)
        next_BKn = _next_nodes(decoder, memory, prompts, grammars, forest, node_BK, level)
        # What follows a node that cannot be reached is undefined and counts nothing.
        is_child_BKn = forest.parents_Bn[:, None] == node_BK[..., None]
        is_child_BKn = is_child_BKn & torch.isfinite(reached_BK)[..., None]
        joint_BKn = torch.where(is_child_BKn, reached_BK[..., None] + next_BKn, float("-inf"))
        shared_Bn = log_Bn.gather(1, forest.parents_Bn.clamp(min=0)) + forest.log_share_Bn
        below_Bn = torch.where(is_child_BKn.any(1), joint_BKn.amax(1), shared_Bn)
        log_Bn = torch.where(forest.depth_Bn == level, below_Bn, log_Bn)
    return log_Bn


def _next_nodes(
    decoder: Decoder,
    memory: Memory,
    prompts: Prompts,
    grammars: CompiledGrammars,
    forest: Forest,
    node_BK: Tensor,
    level: int,
) -> Tensor:
    """``[B, K, n]``: natural logs of every rank as the token after the ``level`` nodes that end with each of ``node_BK``."""
    questions, nodes = node_BK.shape
    above_BK, path = node_BK, []
    for _ in range(level):
        path.append(grammars.numbers_Bn.gather(1, above_BK.clamp(min=0)).clamp(min=0).reshape(-1))
        above_BK = forest.parents_Bn.gather(1, above_BK.clamp(min=0))
    prompts, grammars = prompts.repeat(nodes), grammars.repeat(nodes)
    registers = grammars.start()
    tokens_RT = torch.nn.functional.pad(prompts.tokens_BP, (0, level), value=PAD)
    for place, choice_R in enumerate(reversed(path)):
        tokens_RT = tokens_RT.scatter(1, prompts.start_B[:, None] + place, choice_R[:, None])
        registers = grammars.advance(registers, choice_R)
    told_RD = prompts.told_by(decoder)
    states_RTD = decoder(tokens_RT, torch.full_like(tokens_RT, -1), memory, told_BD=told_RD, pointing=False)
    column_R11 = (prompts.start_B - 1 + level)[:, None, None].expand(-1, 1, states_RTD.shape[-1])
    scores_RS = decoder.choices(states_RTD.gather(1, column_R11), memory)[:, 0]
    legal = renormalise(scores_RS, grammars.allowed(registers))
    return legal.log_BS.gather(1, grammars.numbers_Bn.clamp(min=0)).view(questions, nodes, -1)
