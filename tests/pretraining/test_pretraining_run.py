"""A whole run at a size that takes seconds: it learns, stops, goes on bit by bit, and leaves weights that load."""

from __future__ import annotations

import json
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from protscribe.alphabet import RESIDUES, residue_ids
from protscribe.data.batching import Budget
from protscribe.encoders.mini import MiniEncoder
from protscribe.errors import CheckpointError
from protscribe.pretraining.corpus import Corpus, Recipe, Unlabeled
from protscribe.pretraining.masking import Masking
from protscribe.pretraining.run import PretrainResult, pretrain
from protscribe.training.checkpoints import Checkpoints
from protscribe.training.muon import MuonWithAdamW
from protscribe.training.schedule import trapezoid

TINY = {"kind": "mini", "width": 32, "layers": 2, "attention_layers": 1, "heads": 2, "dropout": 0.0}


def repeats(count: int, seed: int) -> list[str]:
    """Proteins in which every residue can be told from those three places before and after it."""
    draw = random.Random(seed)
    return ["".join(draw.choices(RESIDUES[:20], k=3)) * draw.randint(12, 20) for _ in range(count)]


def run(folder: Path, steps: int, resume: str | None = None) -> PretrainResult:
    folder.mkdir(exist_ok=True)
    table = folder / "pool.csv"
    table.write_text("sequence\n")
    recipe = Recipe([Unlabeled(str(table))], [Unlabeled(str(table))])
    Corpus(repeats(300, 1), repeats(20, 2), {"sequences": 300}).save(
        folder / "corpus.parquet", recipe.digest([])
    )
    trainer: Any = partial(
        lightning.Trainer, accelerator="cpu", devices=1, max_steps=steps, accumulate_grad_batches=2,
        num_sanity_val_steps=0, log_every_n_steps=1,
    )  # fmt: skip
    return pretrain(
        str(folder), recipe, TINY, Masking("single"), partial(MuonWithAdamW, lr=1e-2),
        partial(trapezoid, warmup_steps=2, decay_share=0.0), trainer, Budget(1024, 64, 128, 4), validation_proteins=20,
        callbacks={
            "checkpoints": Checkpoints(folder / "checkpoints", monitor=None, every_steps=7),
        },
        resume=resume, held_out=[],
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> PretrainResult:
    return run(tmp_path_factory.mktemp("whole"), 40)


def test_it_learns_what_counting_cannot(whole: PretrainResult) -> None:
    assert whole.metrics["valid/single/perplexity"] < 0.5 * min(whole.neighbours, whole.unigram)
    told = json.loads((whole.weights.parent / "pretraining.json").read_text())
    assert (told["steps"], told["residues"]) == (40, whole.residues)


def test_interrupted_it_ends_with_the_same_weights(whole: PretrainResult, tmp_path: Path) -> None:
    run(tmp_path / "half", 17)
    shutil.rmtree(max((tmp_path / "half" / "checkpoints").glob("*-step-17")))  # so the last one is of step 14
    rest = run(tmp_path / "half", 40, resume="last")
    assert rest.weights.read_bytes() == whole.weights.read_bytes()
    assert rest.residues == whole.residues


def test_the_weights_are_an_encoder(whole: PretrainResult) -> None:
    encoder = MiniEncoder.read(whole.weights)
    ids = torch.from_numpy(residue_ids("MKTAYIAK").astype("int64"))[None]
    assert encoder(ids, torch.ones_like(ids, dtype=torch.bool)).shape == (1, 8, 32)
    assert not encoder.training


def test_a_file_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError):
        MiniEncoder.read(path)


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        run(tmp_path / "run", 2, resume=str(tmp_path / "none.ckpt"))
