"""States on disk: what is read is what was encoded, whoever wrote it and however it ended."""

from __future__ import annotations

import errno
import os
import pickle
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from protscribe.encoders import build_encoder, state_cache
from protscribe.encoders.state_cache import KEYS, STATES, KeptStates, StateStore, encoder_digest
from protscribe.errors import ConfigError, OutputError
from tests.encoders.conftest import pad_residues, random_proteins

PLAIN = {"kind": "mini", "width": 32, "layers": 2, "attention_layers": 1, "heads": 2}
CPU = torch.device("cpu")
PROTEINS = random_proteins([random.Random(0).randint(1, 60) for _ in range(40)])


def made(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return build_encoder(PLAIN).eval()


def fill(kept: KeptStates, chains: list[str], encoder: Any, residues: int = 256) -> int:
    return sum(kept.fill(chains, encoder, CPU, residues))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("bfloat16", 2**-8)])
@torch.no_grad()
def test_what_is_read_is_what_was_encoded(tmp_path: Path, dtype: Any, tolerance: float) -> None:
    encoder = made()
    store = StateStore(str(tmp_path), dtype)
    assert fill(store.open(encoder), [*PROTEINS, *PROTEINS[:5]], encoder) == len(set(PROTEINS))
    kept = store.open(encoder)
    asked = [PROTEINS[7], PROTEINS[0], PROTEINS[7], PROTEINS[30]]
    states = kept.read(asked, 64)
    assert states is not None
    assert states.dtype == getattr(torch, dtype)
    torch.testing.assert_close(
        states.float(), encoder(*pad_residues(asked, to=64)), atol=tolerance, rtol=tolerance
    )
    assert kept.read([*asked, "MKTAYIAK"], 64) is None
    assert fill(kept, PROTEINS, encoder) == 0


def test_weights_and_architecture_make_the_digest() -> None:
    one, other = made(0), made(1)
    assert encoder_digest(one) == encoder_digest(made(0))
    assert encoder_digest(one) != encoder_digest(other)
    assert len({encoder_digest(one, windows) for windows in (None, (1022, 128), (1022, 64))}) == 3
    with torch.no_grad():
        one.norm.bias[3] += 1e-6
    assert encoder_digest(one) != encoder_digest(made(0))


def test_several_writers_and_a_copy_for_a_worker(tmp_path: Path) -> None:
    encoder, store = made(), StateStore(str(tmp_path))
    one, other = store.open(encoder), store.open(encoder)
    fill(one, PROTEINS[:25], encoder)
    fill(other, PROTEINS[15:], encoder)
    one.refresh()
    copy = pickle.loads(pickle.dumps(one))
    for kept in (one, other, copy):
        assert not kept.missing(PROTEINS)
        assert torch.equal(kept.read(PROTEINS[:3], 64), one.read(PROTEINS[:3], 64))


@pytest.mark.parametrize("seed", range(5))
def test_a_writer_that_is_killed_leaves_complete_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    encoder, store = made(), StateStore(str(tmp_path), "float32")
    monkeypatch.setattr(state_cache, "COMMIT", 1 if seed else 4000)
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        for _ in store.open(encoder).fill(PROTEINS, encoder, CPU, 64):
            os.write(told, b".")
        signal.pause()
    for _ in range(6 + seed):
        os.read(ready, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(ready), os.close(told)
    kept = store.open(encoder)
    there = [chain for chain in PROTEINS if not kept.missing([chain])]
    assert there
    torch.testing.assert_close(
        kept.read(there, 64), encoder(*pad_residues(there, to=64)), atol=1e-6, rtol=1e-5
    )


def test_states_and_records_that_are_cut_off_do_not_count(tmp_path: Path) -> None:
    encoder, store = made(), StateStore(str(tmp_path))
    fill(store.open(encoder), PROTEINS, encoder)
    (states,) = tmp_path.rglob(f"*{STATES}")
    (index,) = tmp_path.rglob(f"*{KEYS}")
    whole = store.open(encoder)
    os.truncate(states, states.stat().st_size - 1)
    os.truncate(index, index.stat().st_size - 40)
    kept = store.open(encoder)
    assert 0 < len(kept.places) < len(whole.places) - 1
    fill(kept, PROTEINS, encoder)
    assert not store.open(encoder).missing(PROTEINS)


def test_a_full_store_takes_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = made()
    kept = StateStore(str(tmp_path), "float16", gigabytes=32 * 2 * 400 / 1e9).open(encoder)
    stored = fill(kept, PROTEINS, encoder, 64)
    assert 0 < stored < len(set(PROTEINS))
    assert kept.bytes <= 32 * 2 * 400
    assert "full" in caplog.text


@pytest.mark.parametrize("wrong", [{"dtype": "int8"}, {"gigabytes": 0}])
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        StateStore("states", **wrong)


def contents(folder: Path) -> list[tuple[str, int]]:
    return sorted((path.suffix, path.stat().st_size) for path in folder.rglob("*.*") if path.is_file())


def test_a_state_does_not_depend_on_who_encoded_it_nor_on_interruptions(tmp_path: Path) -> None:
    """To the last bit, for an encoder whose last bits depend on what it encodes together."""
    encoder = made()

    def encode(residues_NL: torch.Tensor, mask_NL: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = encoder(residues_NL, mask_NL) + 1e-3 * mask_NL.sum()
        return states

    found = []
    for name in ("alone", "interrupted", "two processes"):
        kept = StateStore(str(tmp_path / name), "float32").open(encoder)
        if name == "alone":
            list(kept.fill(PROTEINS, encode, CPU, 256))
        elif name == "interrupted":
            filling = kept.fill(PROTEINS, encode, CPU, 256)
            next(filling), next(filling), filling.close()
            kept.refresh()
            assert 0 < len(kept.places) < len(set(PROTEINS))
            list(kept.fill(PROTEINS, encode, CPU, 256))
        else:
            other = StateStore(str(tmp_path / name), "float32").open(encoder)
            for rank, one in enumerate((kept, other)):
                list(one.fill(PROTEINS, encode, CPU, 256, rank, 2))
            assert len(contents(tmp_path / name)) == 4
            kept.refresh()
        assert not kept.missing(PROTEINS)
        found.append(kept.read(PROTEINS, 64))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_was_stored_first_stays(tmp_path: Path) -> None:
    encoder, store = made(), StateStore(str(tmp_path), "float32")
    early, late = store.open(encoder), store.open(encoder)
    fill(early, PROTEINS, encoder)
    before = early.read(PROTEINS, 64)
    list(late.fill(PROTEINS, lambda *given: encoder(*given) + 1, CPU))
    early.refresh()
    assert len(contents(tmp_path)) == 4
    for kept in (early, late, store.open(encoder)):
        assert torch.equal(kept.read(PROTEINS, 64), before)


def test_nothing_is_written_where_nothing_is_missing(tmp_path: Path) -> None:
    encoder, store = made(), StateStore(str(tmp_path))
    fill(store.open(encoder), PROTEINS, encoder)
    before = contents(tmp_path)
    assert fill(store.open(encoder), PROTEINS[:7], encoder) == 0
    assert contents(tmp_path) == before


def test_states_that_a_type_cannot_hold_are_refused(tmp_path: Path) -> None:
    encoder = made()
    large = lambda *given: encoder(*given) * 1e5  # noqa: E731
    for dtype, fits in (("float16", False), ("bfloat16", True), ("float32", True)):
        kept = StateStore(str(tmp_path), dtype).open(encoder)  # type: ignore[arg-type]
        if fits:
            assert sum(kept.fill(PROTEINS, large, CPU)) == len(set(PROTEINS))
        else:
            with pytest.raises(ConfigError, match="float16 cannot hold"):
                list(kept.fill(PROTEINS, large, CPU))
            assert kept.missing(PROTEINS)


def test_a_disk_that_takes_no_more_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, store = made(), StateStore(str(tmp_path))
    fill(store.open(encoder), PROTEINS[:10], encoder)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        fill(store.open(encoder), PROTEINS, encoder)
    assert caught.value.code == "output.write"
    monkeypatch.undo()
    kept = store.open(encoder)
    assert set(kept.missing(PROTEINS)) == set(PROTEINS[10:]) - set(PROTEINS[:10])


def test_processes_write_at_the_same_time(tmp_path: Path) -> None:
    encoder, store = made(), StateStore(str(tmp_path), "float32")
    children = []
    for rank in range(4):
        child = os.fork()
        if child == 0:
            try:
                list(store.open(encoder).fill(PROTEINS[rank:], encoder, CPU, 128))
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    kept = store.open(encoder)
    assert not kept.missing(PROTEINS)
    torch.testing.assert_close(
        kept.read(PROTEINS, 64), encoder(*pad_residues(PROTEINS, to=64)).detach(), atol=1e-6, rtol=1e-5
    )
