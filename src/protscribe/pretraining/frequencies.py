"""What counting alone knows about the next residue: the yardsticks that a pretrained encoder must beat. Pure numpy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from protscribe.alphabet import residue_ids
from protscribe.pretraining.masking import STANDARD

EDGE = STANDARD
"""What stands before the first residue and after the last one, and for every letter that is no standard residue."""


def unigram_perplexity(training: Iterable[str], validation: Iterable[str]) -> float:
    """Of a residue, guessed by the frequencies of the 20 residues in training."""
    counts = np.ones(STANDARD)
    for sequence in training:
        counts += np.bincount(residue_ids(sequence), minlength=STANDARD)[:STANDARD]
    return _perplexity(np.log(counts / counts.sum()), np.concatenate([_standard(one) for one in validation]))


def neighbour_perplexity(training: Iterable[str], validation: Iterable[str]) -> float:
    """Of a residue, guessed by both its neighbours, whose bigrams are counted in training.

    p(residue | left, right) is in proportion to p(left, residue) p(residue, right) / p(residue): what bigrams say about a
    masked residue, which has neighbours on both sides.
    """
    pairs = np.ones((STANDARD + 1, STANDARD + 1))
    for sequence in training:
        places = _with_edges(sequence)
        np.add.at(pairs, (places[:-1], places[1:]), 1)
    alone = pairs[:STANDARD].sum(axis=1)
    logs = np.log(pairs)
    nats: list[NDArray[np.float64]] = []
    for sequence in validation:
        places = _with_edges(sequence)
        left, here, right = places[:-2], places[1:-1], places[2:]
        scores = logs[left][:, :STANDARD] + logs[:STANDARD].T[right] - np.log(alone)
        scores -= np.logaddexp.reduce(scores, axis=1, keepdims=True)
        counted = here < STANDARD
        nats.append(-scores[counted, here[counted]])
    return float(np.exp(np.concatenate(nats).mean()))


def _standard(sequence: str) -> NDArray[np.int64]:
    ids = residue_ids(sequence).astype(np.int64)
    return ids[ids < STANDARD]


def _with_edges(sequence: str) -> NDArray[np.int64]:
    ids = np.minimum(residue_ids(sequence).astype(np.int64), EDGE)
    return np.concatenate([[EDGE], ids, [EDGE]])


def _perplexity(logs: NDArray[np.float64], ids: NDArray[np.int64]) -> float:
    return float(np.exp(-logs[ids].mean()))
