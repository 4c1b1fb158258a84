"""A dedicated head: what one would build for one task alone, with as many layers and weights as the decoder.

It reads the same frozen states through the same small trainable encoder, in the same batches, for as many passes, with the same
optimizer; self-attention over residues in place of the decoder's layers, then a softmax, sigmoids or one number, pooled or at
each residue. The pass that validates best is kept, and thresholds are chosen on the same validation rows, as for the decoder.

Shape legend: B questions, K memories, M places, D width, C outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from protscribe.codecs.protocol import Evidence, First, Marginals, Reading, Readout
from protscribe.codecs.segments import Segment, painted
from protscribe.data.batch import Batch
from protscribe.data.collate import Question
from protscribe.data.datamodule import ScribeData
from protscribe.data.examples import Example
from protscribe.evaluation.answers import candidate_indices
from protscribe.evaluation.confidence.readouts import best_of, candidate_readouts, try_readouts
from protscribe.evaluation.rivals.majority import domain_texts, included, predicted, written
from protscribe.evaluation.rivals.states import condition_features
from protscribe.nn.decoder import Decoder, waves
from protscribe.records import Prediction, ProteinRecord
from protscribe.task import Task
from protscribe.training.schedule import cosine

POOLED = ("category", "category_set", "category_path", "number")
IGNORED = -100


def outputs_of(task: Task, example: Example) -> list[str]:
    """What the head's outputs mean, in their order."""
    kind = task.codec.kind
    if kind == "category":
        return list(task.codec.labels)  # type: ignore[attr-defined]
    if kind in ("category_set", "category_path"):
        return domain_texts(task.codec, example.record)
    if kind in ("residue_labels", "segments"):
        return list(task.codec.labels)  # type: ignore[attr-defined]
    return [kind]


class DedicatedHead(nn.Module):
    """The encoder, ``layers`` of self-attention of the decoder's width, and ``outputs`` numbers, pooled or a residue."""

    def __init__(
        self, encoder: nn.Module, decoder: Decoder, task: Task, outputs: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        width, heads = decoder.width, decoder.heads
        layers = len(decoder.layers)
        weights = sum(weight.numel() for weight in decoder.layers.parameters()) / layers
        feed_forward = round((weights - 4 * width**2 - 9 * width) / (2 * width + 1))
        self.encoder, self.pooled, self.chains = encoder, task.codec.kind in POOLED, task.chains
        self.project = nn.Linear(encoder.width, width)  # type: ignore[arg-type]
        self.parts = nn.Embedding(2, width)
        conditions = sum(len(condition.values) for condition in task.conditions)
        self.conditions = nn.Linear(conditions, width, bias=False) if conditions else None
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, feed_forward, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, 1)
        parts = {1: 2, 2: 8}[task.chains] if self.pooled else 1
        self.out = nn.Linear(parts * width, outputs)

    def forward(self, batch: Batch, given_BG: Tensor | None) -> Tensor:
        """``[B, C]``, or ``[B, M, C]`` at each residue."""
        states_NLD = (
            self.encoder(batch.residues_NL, batch.residue_mask_NL)
            if batch.states_NLE is None
            else self.encoder.above(batch.states_NLE, batch.residues_NL, batch.residue_mask_NL)  # type: ignore[operator]
        )
        mask_BM = batch.memory_mask_KM[batch.memory_of_B]
        places_BM = batch.source_KM.clamp(min=0)[batch.memory_of_B]
        part_BM, offset_BM = batch.part_KM[batch.memory_of_B], batch.offset_KM[batch.memory_of_B]
        states_BMD = self.project(states_NLD).flatten(0, 1)[places_BM]
        # Where a residue stands is told as the decoder is told it.
        states_BMD = states_BMD + self.parts(part_BM) + waves(offset_BM, states_BMD.shape[-1])
        if self.conditions is not None:
            states_BMD = states_BMD + self.conditions(given_BG)[:, None]
        for layer in self.layers:
            states_BMD = layer(states_BMD, src_key_padding_mask=~mask_BM)
        states_BMD = self.norm(states_BMD)
        if not self.pooled:
            found: Tensor = self.out(states_BMD)
            return found
        pools = [self._pool(states_BMD, mask_BM & (part_BM == chain)) for chain in range(self.chains)]
        if self.chains == 2:
            pools += [pools[0] * pools[1], (pools[0] - pools[1]).abs()]
        pooled: Tensor = self.out(torch.cat(pools, dim=-1))
        return pooled

    def _pool(self, states_BMD: Tensor, mask_BM: Tensor) -> Tensor:
        """The mean, and a weighted mean whose weights are learnt."""
        kept_BM1 = mask_BM[..., None].to(states_BMD.dtype)
        mean_BD = (states_BMD * kept_BM1).sum(1) / kept_BM1.sum(1).clamp(min=1)
        scores_BM1 = self.query(states_BMD).masked_fill(~mask_BM[..., None], -1e9)
        return torch.cat([mean_BD, (scores_BM1.softmax(1) * states_BMD).sum(1)], dim=-1)


class HeadTraining:
    """One head on one task: fit, then answer."""

    def __init__(self, data: ScribeData, task: Task, encoder: nn.Module, decoder: Decoder) -> None:
        self.data, self.task = data, task
        examples: Any = data.training[0]
        self.names = outputs_of(task, examples[0])
        self.ranks = {name: rank for rank, name in enumerate(self.names)}
        self.kind = task.codec.kind
        if self.kind == "number":
            values = np.array([example.answer for example in examples])
            self.mean, self.spread = float(values.mean()), float(values.std() or 1.0)
        self.model = DedicatedHead(encoder, decoder, task, len(self.names))

    def given(self, records: Sequence[ProteinRecord]) -> Tensor | None:
        if self.model.conditions is None:
            return None
        return torch.from_numpy(np.stack([condition_features(self.task, record) for record in records]))

    def loss(self, batch: Batch) -> Tensor:
        """A mean over answers; within an answer over its residues, with the decoder's balance of lengths."""
        records = [question.record for question in batch.questions]
        out = self.model(batch, self.given(records))
        answers = [question.answer for question in batch.questions]
        if self.kind == "category":
            return cross_entropy(out, torch.tensor([self.ranks[answer] for answer in answers]))
        if self.kind == "number":
            wanted = torch.tensor([(answer - self.mean) / self.spread for answer in answers])
            return mse_loss(out[:, 0], wanted)
        if self.kind in POOLED:
            texts = [written(self.task.codec, Example(r, a)) for r, a in zip(records, answers, strict=True)]
            table = torch.tensor([[float(name in text) for name in self.names] for text in texts])
            return binary_cross_entropy_with_logits(out, table) * len(self.names)
        targets_BM = torch.full(out.shape[:2], IGNORED)
        for row, (record, answer) in enumerate(zip(records, answers, strict=True)):
            places, wanted_U = self._residues(record, answer)
            targets_BM[row, places] = wanted_U
        counted_BM = targets_BM != IGNORED
        if self.kind == "residue_set":
            losses_BM = binary_cross_entropy_with_logits(
                out[..., 0], targets_BM.clamp(min=0).float(), reduction="none"
            )
        else:
            losses_BM = cross_entropy(out.transpose(1, 2), targets_BM, ignore_index=IGNORED, reduction="none")
        weights_BM = counted_BM / counted_BM.sum(1, keepdim=True).clamp(min=1).sqrt()
        return (losses_BM * weights_BM).sum() / weights_BM.sum().clamp(min=1e-9)

    def _residues(self, record: ProteinRecord, answer: Any) -> tuple[Tensor, Tensor]:
        """Indices of the residues that count, and what is wanted there."""
        if self.kind == "residue_set":
            indices = candidate_indices(self.task.codec, record)
            return torch.from_numpy(indices), torch.from_numpy(
                np.isin(indices + 1, list(answer)).astype(np.int64)
            )
        if self.kind == "segments":
            labels = painted(answer)
            return torch.arange(len(labels)), torch.tensor([self.ranks[label] for label in labels])
        encoded = self.task.codec.encode(answer, record)
        scored = np.flatnonzero(encoded.weights)
        texts = [token.text for token in encoded.tokens]  # type: ignore[union-attr]
        return torch.from_numpy(scored), torch.tensor([self.ranks[texts[place]] for place in scored])

    def fit(self, passes: int, rate: float, seed: int) -> list[float]:
        """Trains, and goes back to the pass that validated best; the validation loss of each pass."""
        torch.manual_seed(seed)
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        matrices = [weight for weight in weights if weight.dim() > 1]
        vectors = [weight for weight in weights if weight.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
        sampler, questions = self.data.sampler, self.data._questions()
        sampler.set_epoch(0)
        schedule = cosine(optimizer, passes * len(sampler))
        best, losses = None, []
        for epoch in range(passes):
            sampler.set_epoch(epoch)
            self.model.train()
            for places in sampler:
                loss = self.loss(self.data.collator.numbered([questions[place] for place in places]))
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                schedule.step()
            losses.append(self.validate())
            if best is None or losses[-1] <= min(losses):
                best = copy.deepcopy(self.model.state_dict())
        assert best is not None
        self.model.load_state_dict(best)
        return losses

    @torch.no_grad()
    def validate(self) -> float:
        self.model.eval()
        found, rows = 0.0, 0
        for loader in self.data.val_dataloader():
            for batch in loader:
                found += float(self.loss(batch)) * len(batch.questions)
                rows += len(batch.questions)
        return found / rows

    # Answers

    @torch.no_grad()
    def evidence(self, examples: Sequence[Example]) -> list[Any]:
        """What the head says of each record; for numbers and segments the answer itself."""
        self.model.eval()
        order = sorted(range(len(examples)), key=lambda place: sum(examples[place].record.lengths))
        found: list[Any] = [None] * len(examples)
        for first in range(0, len(order), 16):
            part = order[first : first + 16]
            batch = self.data.collator([Question(examples[i].record, self.task, None) for i in part])
            out = self.model(batch, self.given([question.record for question in batch.questions]))
            for place, row in zip(part, out, strict=True):
                found[place] = self._read(self.task.arrange(examples[place].record), row)
        return found

    def _read(self, record: ProteinRecord, row: Tensor) -> Evidence | Reading:
        codec: Any = self.task.codec
        if self.kind == "category":
            return First(row.double().softmax(0).numpy())
        if self.kind == "number":
            value = float(np.clip(float(row[0]) * self.spread + self.mean, codec.low, codec.high))
            return Reading(value, 0.0, "not given by a head")
        if self.kind in POOLED:
            return included(row.double().sigmoid().numpy())
        if self.kind == "residue_set":
            return included(row[candidate_indices(codec, record), 0].double().sigmoid().numpy())
        chances_LK = row[: record.lengths[0]].double().softmax(-1).numpy()
        if self.kind == "residue_labels":
            return Marginals(chances_LK)
        best = chances_LK.argmax(1).tolist()
        residues = [Segment(self.names[rank], place, place) for place, rank in enumerate(best, start=1)]
        return Reading(
            codec.canonical(residues, record), float(chances_LK.max(1).mean()), "mean over residues"
        )

    def said(self, records: Sequence[ProteinRecord]) -> list[Any]:
        """:meth:`evidence` of proteins whose answers are not known."""
        return self.evidence([Example(record, None) for record in records])

    def choose(self, validation: Sequence[Example]) -> Readout:
        """The threshold that is best on validation rows, where there is one to choose."""
        if self.kind in ("number", "segments"):
            return Readout()
        found = self.evidence(validation)
        return best_of(self.task, try_readouts(self.task, validation, found, candidate_readouts(self.task)))

    def answers(self, examples: Sequence[Example], readout: Readout) -> list[Prediction]:
        answers = []
        for example, found in zip(examples, self.evidence(examples), strict=True):
            record = self.task.arrange(example.record)
            reading = found if isinstance(found, Reading) else self.task.codec.read(found, record, readout)
            answers.append(predicted(self.task, record, reading, "head"))
        return answers
