"""What training says of the trust in its bundle, and what of it a bundle that starts from another one keeps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protscribe.checkpoint import load_bundle
from protscribe.data.batching import Budget
from protscribe.data.datamodule import ScribeData
from protscribe.data.mixture import Entry, Mixture
from protscribe.nn.decoder import Decoder
from protscribe.predictor import Predictor
from protscribe.training.run import train
from protscribe.training.schedule import constant
from protscribe.training.start import Start
from protscribe.trust import Calibration, Conformal, Trust
from tests.training.made import settings, write_tables

SMALL = {"kind": "mini", "width": 16, "layers": 1, "attention_layers": 1, "heads": 2}


def keywords(folder: Path, **options: Any) -> dict[str, Any]:
    chosen = settings(folder, max_epochs=1)
    tables = write_tables(folder / "held_out", seed=1, counts={"where": 48, "sites": 48})
    for source in tables.values():
        head, *rows = Path(source.path).read_text().splitlines()
        held_out = [f"{row.removesuffix('train')}validation" for row in rows[24:]]
        Path(source.path).write_text("\n".join([head, *rows[:24], *held_out]) + "\n")
    splits = {"train": ["train"], "validation": ["validation"]}
    chosen["sources"] = {name: replace(source, splits=splits) for name, source in tables.items()}
    chosen["mixture"] = Mixture({name: Entry(name, name) for name in tables})
    parts = {"encoder": SMALL, "decoder": partial(Decoder, width=16, layers=1, heads=2)}
    chosen["data"] = partial(ScribeData, unknown=0.0, budget=Budget(tokens=65536, rows=64))
    return {**chosen, **parts, "schedule": partial(constant, warmup_steps=0), **options}


def test_a_run_calibrates_at_its_end_on_validation_rows(tmp_path: Path) -> None:
    bundle = load_bundle(train(**keywords(tmp_path)).bundle)
    assert set(bundle.trust) == {"where", "sites"}
    # A temperature can turn the order of three classes round: half of the 24 rows are for it, if it helps.
    sure = bundle.trust["where"].conformal
    assert sure is not None
    assert sure.rows == 12
    found = Predictor(bundle, "cpu").predict("MKTAYISSYTAK", "where", coverage=0.9, host="human")
    assert found.calibrated == (bundle.trust["where"].calibration is not None)
    assert found.guarantee is not None


def test_a_run_can_leave_it(tmp_path: Path) -> None:
    assert load_bundle(train(**keywords(tmp_path, calibrate=False)).bundle).trust == {}


@pytest.mark.parametrize("kept", [(), ("a",)])
def test_a_guarantee_ends_where_answers_may_have_changed(kept: tuple[str, ...]) -> None:
    fit, sure = Calibration(0.5, 0.0, 20), Conformal(20, (0.5,), (0.3,))
    before = {"a": Trust(fit, sure), "b": Trust(fit, sure), "c": Trust(None, sure)}
    start: Any = SimpleNamespace(bundle=SimpleNamespace(trust=before))
    found = Start.kept_trust(start, kept)
    assert found == {"a": Trust(fit, sure if kept else None), "b": Trust(fit)}
