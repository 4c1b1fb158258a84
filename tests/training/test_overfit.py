"""The whole path from tables to answers can learn: 32 examples of six tasks at once, every answer exact."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import lightning
import torch

from protscribe.codecs.protocol import Readout
from protscribe.data.collate import Question
from protscribe.encoders import load_encoder
from protscribe.generation.answering import Way, answer
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.training.module import Objective, ScribeTraining
from protscribe.training.schedule import cosine
from tests.training.made import COUNTS, MINI, read_data


def test_32_examples_of_six_tasks_are_learnt_by_heart(tmp_path: Path) -> None:
    lightning.seed_everything(0, verbose=False)
    data = read_data(tmp_path)
    encoder = load_encoder(MINI)
    decoder = Decoder(len(data.lexicon.vocabulary), encoder.width, width=64, layers=2, heads=4, dropout=0.0)
    model = Scribe(encoder, decoder)
    module = ScribeTraining(
        model,
        data.lexicon,
        data.tasks,
        partial(torch.optim.AdamW, lr=3e-3, weight_decay=0.0),
        partial(cosine, warmup_steps=20),
        Objective(hide_all=0.3),
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=300,
        check_val_every_n_epoch=300,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        reload_dataloaders_every_n_epochs=1,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, datamodule=data)
    model.eval()
    truths = [(task, example) for task, examples in data.validation.items() for example in examples]
    assert len(truths) == sum(COUNTS.values()) == 32
    questions = [Question(example.record, data.tasks[task]) for task, example in truths]
    for way in ("greedy", "risk"):
        ways: list[Way] = [way] * len(questions)  # type: ignore[list-item]
        found = answer(model, data.lexicon, data.collator(questions), ways=ways)
        wrong = [
            (question.record.id, reading.value, example.answer)
            for question, answered, (_, example) in zip(questions, found, truths, strict=True)
            if not exact(
                reading := question.task.codec.read(answered.evidence, question.record, Readout()),
                question,
                example.answer,
            )
        ]
        assert not wrong, f"{way}: {wrong}"
    assert trainer.callback_metrics["valid/accuracy/sites"] == 1.0


def exact(reading: object, question: Question, truth: object) -> bool:
    """Whether a reading is the canonical truth; a number may differ by what its readout's depth leaves
    open."""
    codec, record = question.task.codec, question.record
    value = reading.value  # type: ignore[attr-defined]
    if codec.kind == "number":
        open_steps = 10 ** (codec.places - codec.read_depth)
        return abs(value - truth) <= open_steps * codec.step
    return codec.canonical(value, record) == codec.canonical(truth, record)
