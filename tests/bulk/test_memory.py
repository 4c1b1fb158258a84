"""Memory of whole runs: too little on the device (promise P18), too slow a record, and how much a run needs (promise P16)."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet

from protscribe.bulk import merge, predict_folder
from protscribe.bulk.loading import BundleModel, own_device
from protscribe.inquiry import Inquiry
from protscribe.predictor import Predictor
from tests.bulk.stub import content, write_fasta

RECORDS = 24


@pytest.fixture(scope="module")
def model() -> BundleModel:
    return BundleModel(Predictor.load("mini-multitask", "cpu"))


def answered(model: BundleModel, home: Path, output: Path, **more: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {"tasks": ["solubility"], "shards": 1, "device": "cpu", "progress": False, **more}
    predict_folder("mini-multitask", str(home / "in.fasta"), f"{output}/", load=lambda device: model, **given)
    merge(output, str(output / "all.parquet"))
    rows: list[dict[str, Any]] = parquet.read_table(output / "all.parquet").to_pylist()
    return rows


class Failing:
    """Stands for ``Inquiry._answers`` and has too little memory at the k-th call, as long as a batch is large, or always."""

    def __init__(self, k: int, fits: int) -> None:
        self.k, self.fits, self.calls = k, fits, 0
        self.tries: Counter[int] = Counter()
        self.real = Inquiry._answers

    def __call__(self, inquiry: Inquiry, asked: list[Any], *rest: Any) -> Any:
        self.calls += 1
        self.tries.update(one.question.record.ordinal for one in asked)
        if self.calls >= self.k and len(asked) > self.fits:
            raise torch.OutOfMemoryError("out of memory, said by a test")
        return self.real(inquiry, asked, *rest)


@pytest.mark.parametrize("fits", [12, 3, 1])
@pytest.mark.parametrize("k", [1, 2])
def test_too_little_memory_changes_no_answer(
    tmp_path: Path, model: BundleModel, monkeypatch: pytest.MonkeyPatch, k: int, fits: int
) -> None:
    write_fasta(tmp_path / "in.fasta", RECORDS, damaged=False, repeats=0)
    plain = answered(model, tmp_path, tmp_path / "plain", batch_residues=300)
    failing = Failing(k, fits)
    monkeypatch.setattr(Inquiry, "_answers", lambda *given: failing(*given))
    short = answered(model, tmp_path, tmp_path / "short", batch_residues=300)
    assert max(failing.tries.values()) <= math.log2(RECORDS) + 1
    assert len(short) == len(plain) == RECORDS
    for one, other in zip(plain, short, strict=True):
        assert {key: one[key] for key in ("ordinal", "id", "prediction", "sequence_digest")} == {
            key: other[key] for key in ("ordinal", "id", "prediction", "sequence_digest")
        }
        # In batches of other shapes, products are summed in another order.
        assert one["p_soluble"] == pytest.approx(other["p_soluble"], abs=1e-5)


def test_a_record_that_never_fits_is_rejected_alone(
    tmp_path: Path, model: BundleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fasta(tmp_path / "in.fasta", RECORDS, damaged=False, repeats=0)
    real = Inquiry._answers

    def never(inquiry: Inquiry, asked: list[Any], *rest: Any) -> Any:
        if any(one.question.record.id == "p7" for one in asked):
            raise MemoryError
        return real(inquiry, asked, *rest)

    monkeypatch.setattr(Inquiry, "_answers", never)
    rows = answered(model, tmp_path, tmp_path / "out")
    assert [row["id"] for row in rows] == [f"p{place}" for place in range(RECORDS) if place != 7]
    said = (tmp_path / "out" / "all.parquet.rejected.csv").read_text().splitlines()
    assert len(said) == 2
    assert said[1].startswith("7,p7,device.oom,")


def test_a_record_that_takes_too_long_is_rejected_alone(
    tmp_path: Path, model: BundleModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fasta(tmp_path / "in.fasta", 6, damaged=False, repeats=0)
    real = Inquiry._answers

    def slow(inquiry: Inquiry, asked: list[Any], *rest: Any) -> Any:
        until = time.monotonic() + 60
        while any(one.question.record.id == "p3" for one in asked) and time.monotonic() < until:
            time.sleep(0.01)
        return real(inquiry, asked, *rest)

    monkeypatch.setattr(Inquiry, "_answers", slow)
    rows = answered(model, tmp_path, tmp_path / "out", record_seconds=0.3)
    assert "p3" not in [row["id"] for row in rows]
    assert "3,p3,predict.time_limit," in (tmp_path / "out" / "all.parquet.rejected.csv").read_text()


def test_the_time_in_the_encoder_is_told(tmp_path: Path, model: BundleModel) -> None:
    write_fasta(tmp_path / "in.fasta", RECORDS)
    given: dict[str, Any] = {"tasks": ["solubility"], "shards": 1, "device": "cpu", "progress": False}
    result = predict_folder(
        "mini-multitask", str(tmp_path / "in.fasta"), f"{tmp_path}/out/", load=lambda _: model, **given
    )
    assert 0 < result.encoder < 1
    assert 0 < result.decoder < 1
    assert result.encoder + result.decoder + result.waiting <= 1.001
    assert not model.predictor.bundle.model.encoder._forward_hooks
    assert content(tmp_path / "out")


def test_each_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [own_device("auto", place) for place in range(6)] == [f"cuda:{place % 4}" for place in range(6)]
    assert own_device("cpu", 1) == "cpu"
    assert own_device("cuda:2", 1) == "cuda:2"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert own_device("auto", 1) == "auto"


MEASURE = """
import json, pathlib, resource, sys
from tests.bulk.stub import predict
home, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
with open(home / "in.fasta", "w") as file:
    for place in range(count):
        print(f">p{place}\\n{'ACDEFGHIKLMNPQRSTVWY' * 2}{place:x}".upper().translate({48 + d: 65 + d for d in (0, 2, 3, 4, 5,
        6, 7, 8)} | {49: 82, 57: 83, 66: 84}), file=file)
result = predict(home / "in.fasta", home / "out", tasks=["solubility"], shards=None, nucleotides="accept")
from protscribe.bulk import merge
merge(home / "out", str(home / "all.csv"))
print(json.dumps({"records": result.records, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def peak(home: Path, count: int) -> float:
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(home), str(count)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["records"] == count
    return float(told["megabytes"])


@pytest.mark.parametrize(
    ("few", "many"),
    [
        pytest.param(10_000, 60_000),
        pytest.param(100_000, 1_000_000, marks=pytest.mark.long),
        pytest.param(10_000, 10_000_000, marks=pytest.mark.long),
    ],
)
def test_memory_does_not_grow_with_the_input(tmp_path: Path, few: int, many: int) -> None:
    """Plan, shards and merging, with a stub for the model."""
    assert peak(tmp_path / "many", many) <= peak(tmp_path / "few", few) + 50
