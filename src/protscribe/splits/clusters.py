"""Clusters of related proteins, and their distribution among splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from protscribe.errors import ConfigError, nearest
from protscribe.homology import Criteria, search

Integers = npt.NDArray[np.int64]
SPLITS = ("train", "validation", "test")


def find_clusters(sequences: Sequence[str], criteria: Criteria) -> Integers:
    """The 0-based cluster (N,) of each of the sequences, numbered in the order of their first member.

    A cluster is a connected component of the graph of all that an MMseqs2 search of the sequences among themselves relates
    (single linkage). So nothing that the search finds to be related lies in two clusters, which a clustering around
    representatives does not promise. Equal sequences are of one cluster whatever the search finds.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: dict[str, int] = {}
    places = np.array([numbers.setdefault(one, len(numbers)) for one in sequences], dtype=np.int64)
    distinct = list(numbers)
    hits = search(distinct, distinct, criteria, "finding clusters of related proteins")
    links = coo_array(
        (np.ones(len(hits.queries), dtype=np.int8), (hits.queries, hits.targets)),
        shape=(len(distinct), len(distinct)),
    )
    _, labels = connected_components(links, directed=False)
    return in_order(labels[places])


def in_order(labels: npt.NDArray[np.integer]) -> Integers:
    """The same groups, numbered from 0 in the order in which they first occur."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.asarray(rank[inverse.reshape(-1)])


def check_fractions(fractions: Mapping[str, float]) -> dict[str, float]:
    """The fraction of each of :data:`SPLITS`, 0 where it is not named. Raises ``config.value`` unless they sum to 1."""
    for name, share in fractions.items():
        if name not in SPLITS:
            raise ConfigError("config.value", f"fractions: unknown split {name!r}; {nearest(name, SPLITS)}")
        if not 0 <= share <= 1:
            raise ConfigError("config.value", f"fractions.{name} must be in 0..1, got {share}")
    total = sum(fractions.values())
    if abs(total - 1) > 1e-6:
        raise ConfigError("config.value", f"fractions must sum to 1, got {total:g}: {dict(fractions)}")
    return {name: float(fractions.get(name, 0)) for name in SPLITS}


def share_clusters(sizes: Sequence[int] | Integers, fractions: Sequence[float], seed: int) -> Integers:
    """The 0-based split (C,) of each cluster, so that the splits' sums of ``sizes`` are near their fractions of the total.

    Clusters too large to come anywhere go first, the largest foremost; single proteins go last, for they fill what is left;
    all others go in the order that ``seed`` draws, so that each split gets families of every size. Each cluster goes to
    the split that is emptiest for its fraction among those that have room for it, or, where none has, to the one with most
    room: no split is above its fraction by as much as the largest cluster.
    """
    weights = np.asarray(sizes, dtype=np.int64)
    targets = np.asarray(fractions, dtype=np.float64) * weights.sum()
    wanted = targets > 0
    large = weights > targets[wanted].min() / 2 if wanted.any() else weights > 0
    drawn = np.random.default_rng(seed).permutation(len(weights))
    tier = np.where(large, 0, np.where(weights > 1, 1, 2))[drawn]
    within = np.where(tier == 0, -weights[drawn], 0)
    room = targets.copy()
    found = np.zeros(len(weights), dtype=np.int64)
    for cluster in drawn[np.lexsort((within, tier))]:
        size = weights[cluster]
        fits = wanted & (room >= size)
        if fits.any():
            emptiness = np.where(fits, room / np.where(wanted, targets, 1), -np.inf)
            choice = int(np.argmax(emptiness))
        else:
            choice = int(np.argmax(np.where(wanted, room, -np.inf)))
        found[cluster] = choice
        room[choice] -= size
    return found
