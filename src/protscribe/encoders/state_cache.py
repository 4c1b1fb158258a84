"""States of a frozen encoder, kept on disk: what it says about a protein is computed once, not once an epoch and a run.

A store is a folder; in it, each encoder has a folder of its own, named by a digest of its architecture and weights. States are
appended to files that only one process writes, and named in an index beside them once they are on the disk: what a killed
process leaves is an index of complete states. They are read through memory maps, each protein's as one piece. Any number of
processes may read and write at a time; where two have stored the same protein, the file that was begun first counts.

Shape legend: N chains, L residues (padded), E width of a state.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from protscribe.alphabet import PAD_RESIDUE, residue_ids
from protscribe.errors import ConfigError, OutputError, Where

log = logging.getLogger(__name__)

INDEX = np.dtype([("key", "S16"), ("first", "<u8"), ("length", "<u8")])
"""A record of an index: the key of a chain, its first row in the file of states, its length."""
ON_CPU, ON_DEVICE = 1024, 32768
"""Residues that are encoded together: on a CPU as many as its caches hold the activations of."""
STATES, KEYS = ".states", ".index"
COMMIT = 64 * 2**20
"""Bytes of states after which those written so far are put on the disk and named in the index: what a kill may cost."""
KINDS: dict[str, tuple[torch.dtype, str]] = {
    # numpy has no bfloat16; it sees the bits as whole numbers.
    "float16": (torch.float16, "<f2"), "bfloat16": (torch.bfloat16, "<u2"), "float32": (torch.float32, "<f4"),
}  # fmt: skip
"""What states can be stored as: torch's type, and numpy's."""

Encode = Callable[[Tensor, Tensor], Tensor]
"""``residues_NL`` and ``mask_NL`` to states ``[N, L, E]``."""


def key_of(chain: str) -> bytes:
    """What stands for a chain in an index. Never ends in a zero byte, which numpy would drop."""
    return hashlib.blake2b(chain.encode(), digest_size=15).digest() + b"\x01"


def encoder_digest(encoder: nn.Module, windows: tuple[int, int] | None = None) -> str:
    """Of architecture, weights, and length and overlap of the windows that long proteins are read in: equal digests mean equal
    states."""
    described: Any = encoder
    digest = hashlib.sha256(json.dumps([described.to_plain(), windows], sort_keys=True).encode())
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class StateStore:
    """Where states are kept, as what, and how many.

    ``dtype`` is what they are stored as; ``float32`` changes nothing, ``float16`` halves the space and changes a number by at
    most a two-thousandth of it, ``bfloat16`` by a 256th, and is for states that are too large for ``float16``. Beyond
    ``gigabytes`` (of all states of one encoder) nothing more is stored, which is logged: batches with other proteins are then
    encoded whenever they are met.
    """

    folder: str
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    gigabytes: float = 20.0

    def __post_init__(self) -> None:
        if self.dtype not in KINDS:
            raise ConfigError(
                "config.value", f"state_cache: dtype must be one of {', '.join(KINDS)}, got {self.dtype!r}"
            )
        if not self.gigabytes > 0:
            raise ConfigError("config.value", f"state_cache: gigabytes must be above 0, got {self.gigabytes}")

    def open(self, encoder: nn.Module, windows: tuple[int, int] | None = None) -> KeptStates:
        """The states of one encoder, those that are there already."""
        width: Any = encoder.width
        name = f"{encoder_digest(encoder, windows)[:24]}-{self.dtype}"
        return KeptStates(Path(self.folder) / name, width, self.dtype, int(self.gigabytes * 1e9))


@dataclass
class KeptStates:
    """The states of one encoder. A copy that a worker gets opens its own memory maps."""

    folder: Path
    width: int
    dtype: str
    most_bytes: int
    places: dict[bytes, tuple[Path, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._maps: dict[Path, NDArray[Any]] = {}
        self.refresh()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    @property
    def row_bytes(self) -> int:
        return self.width * np.dtype(KINDS[self.dtype][1]).itemsize

    @property
    def bytes(self) -> int:
        """The size of all states that an index names."""
        return self.row_bytes * sum(length for _, _, length in self.places.values())

    def refresh(self) -> None:
        """Reads the indices again: other processes may have stored more."""
        for path in sorted(self.folder.glob(f"*{KEYS}")):
            content = path.read_bytes()
            records = np.frombuffer(content[: len(content) // INDEX.itemsize * INDEX.itemsize], dtype=INDEX)
            states = path.with_suffix(STATES)
            rows = states.stat().st_size // self.row_bytes if states.is_file() else 0
            for key, first, length in records.tolist():
                if first + length <= rows:
                    self.places.setdefault(key, (states, first, length))
        self._maps = {}

    def missing(self, chains: Iterable[str]) -> list[str]:
        """Those that are not there, each once, the shortest first."""
        return sorted(
            {chain for chain in chains if key_of(chain) not in self.places}, key=lambda one: (len(one), one)
        )

    def read(self, chains: Sequence[str], columns: int) -> Tensor | None:
        """States ``[N, columns, E]`` of these chains, zero at padding, in the type they are stored in; ``None`` where one of
        them is not there."""
        found = [self.places.get(key_of(chain)) for chain in chains]
        if None in found:
            return None
        kind, bits = KINDS[self.dtype]
        states_NLE = np.zeros((len(chains), columns, self.width), dtype=bits)
        for row, place in enumerate(found):
            assert place is not None
            path, first, length = place
            states_NLE[row, :length] = self._map(path)[first : first + length]
        return torch.from_numpy(states_NLE).view(kind)

    def _map(self, path: Path) -> NDArray[Any]:
        if path not in self._maps:
            rows = path.stat().st_size // self.row_bytes
            self._maps[path] = np.memmap(path, KINDS[self.dtype][1], "r", shape=(rows, self.width))
        return self._maps[path]

    def fill(
        self,
        chains: Iterable[str],
        encode: Encode,
        device: torch.device,
        residues: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[int]:
        """Encodes and stores the chains that are not there, some at a time; yields how many were stored.

        ``residues`` bounds a batch, padding included; by default as many as suit the device. Which chains are encoded together
        follows from ``chains`` alone, not from what is there already nor from ``world``, the number of processes that share
        them: so a state is the same to the last bit whoever computes it, and however often that was interrupted. Stops where
        the store is full. Raises :class:`~protscribe.errors.OutputError` ``output.write``, and
        :class:`~protscribe.errors.ConfigError` ``config.value`` for states that the type cannot hold.
        """
        together = residues or (ON_CPU if device.type == "cpu" else ON_DEVICE)
        ordered = sorted(set(chains), key=lambda chain: (len(chain), chain))
        planned = self._affordable(_batches(ordered, together))[rank::world]
        if not planned:
            return
        try:
            with _Appending(self.folder) as file:
                for batch, wanted in planned:
                    states_NLE = _encode(batch, encode, device).to(KINDS[self.dtype][0])
                    if not bool(torch.isfinite(states_NLE).all()):
                        raise ConfigError(
                            "config.value",
                            f"state_cache: {self.dtype} cannot hold the states of this encoder; use dtype=float32",
                        )
                    bits_NLE = states_NLE.contiguous().view(torch.int8).numpy()
                    for chain, bits_LE in zip(batch, bits_NLE, strict=True):
                        if chain in wanted:
                            file.append(key_of(chain), len(chain), bits_LE[: len(chain)].tobytes())
                    yield len(wanted)
        except OSError as error:
            raise OutputError(
                "output.write", f"states cannot be stored: {error.strerror}", Where(file=str(self.folder))
            ) from error
        self.refresh()

    def _affordable(self, batches: Iterable[list[str]]) -> list[tuple[list[str], set[str]]]:
        """Batches with the chains of each that are missing, as far as there is room."""
        room, found = self.most_bytes - self.bytes, []
        for batch in batches:
            wanted = set(self.missing(batch))
            room -= self.row_bytes * sum(map(len, wanted))
            if wanted and room < 0:
                log.warning("the store of states is full (%.3g GB); more are not kept", self.most_bytes / 1e9)
                break
            if wanted:
                found.append((batch, wanted))
        return found


class _Appending:
    """A new file of states and its index. A record is written to the index once its states are on the disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        self._states = (folder / f"{name}{STATES}").open("xb")
        self._index = (folder / f"{name}{KEYS}").open("xb")
        self._rows = self._waiting = 0
        self._records: list[tuple[bytes, int, int]] = []

    def append(self, key: bytes, length: int, content: bytes) -> None:
        self._states.write(content)
        self._records.append((key, self._rows, length))
        self._rows += length
        self._waiting += len(content)
        if self._waiting >= COMMIT:
            self._commit()

    def _commit(self) -> None:
        for file in (self._states, self._index):
            if file is self._index:
                file.write(np.array(self._records, dtype=INDEX).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self._records, self._waiting = [], 0

    def __enter__(self) -> _Appending:
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: Any) -> None:
        try:
            # What a full disk or a kill has cut short is not named.
            if kind is None or not issubclass(kind, OSError):
                self._commit()
        finally:
            self._states.close()
            self._index.close()


def _batches(chains: Sequence[str], residues: int) -> Iterator[list[str]]:
    """Neighbours of similar length; the last one of a batch is its longest."""
    batch: list[str] = []
    for chain in chains:
        if batch and (len(batch) + 1) * len(chain) > residues:
            yield batch
            batch = []
        batch.append(chain)
    if batch:
        yield batch


@torch.no_grad()
def _encode(chains: Sequence[str], encode: Encode, device: torch.device) -> Tensor:
    residues = np.full((len(chains), max(map(len, chains))), PAD_RESIDUE, dtype=np.int64)
    for row, chain in enumerate(chains):
        residues[row, : len(chain)] = residue_ids(chain)
    residues_NL = torch.from_numpy(residues).to(device)
    return encode(residues_NL, residues_NL != PAD_RESIDUE).float().cpu()
