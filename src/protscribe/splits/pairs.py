"""Pairs of proteins by what of them is known from training: both, one or none.

A model of pairs can know a protein without knowing anything about interactions, and does far better where it does. Test pairs
are therefore judged in three classes (Park and Marcotte 2012, https://doi.org/10.1038/nmeth.2259): C1, both proteins occur in
training; C2, one; C3, none.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from protscribe.splits.clusters import SPLITS, Integers

CLASSES = ("test_c3", "test_c2", "test_c1")
"""Splits of test pairs, by how many of the two proteins are known."""
UNUSED = "unused"
"""The split of a pair that belongs to none: of a validation and a test protein."""
TRAIN, VALIDATION, TEST = range(len(SPLITS))


def split_pairs(clusters: Integers, groups: Integers, fraction: float, seed: int) -> list[str]:
    """The split of each pair.

    ``clusters`` (N, 2) are the 0-based clusters of each pair's proteins, and ``groups`` (C,) the place in
    :data:`~protscribe.splits.clusters.SPLITS` that each cluster belongs to. Pairs of two training proteins are ``train``, but
    for ``fraction`` of them, which are ``test_c1``; a pair with a validation protein is ``validation``, one with a test
    protein ``test_c2`` or ``test_c3``, and one with both ``unused``. A protein is known where any of its cluster is in a
    training pair. All pairs of the same two clusters are of one split, in either order.
    """
    sides = groups[clusters]
    has_test, has_validation = (sides == TEST).any(axis=1), (sides == VALIDATION).any(axis=1)
    kinds = np.sort(clusters, axis=1)
    drawn = _draw_known(kinds[~has_test & ~has_validation], fraction, seed)
    is_drawn = np.array([(int(a), int(b)) in drawn for a, b in kinds], dtype=np.bool_).reshape(-1)
    training = ~has_test & ~has_validation & ~is_drawn
    known = set(clusters[training].reshape(-1).tolist())
    found = []
    for place, (a, b) in enumerate(clusters.tolist()):
        if has_test[place] and has_validation[place]:
            found.append(UNUSED)
        elif has_validation[place]:
            found.append("validation")
        elif training[place]:
            found.append("train")
        else:
            found.append(CLASSES[(a in known) + (b in known)])
    return found


def _draw_known(kinds: npt.NDArray[np.int64], fraction: float, seed: int) -> set[tuple[int, int]]:
    """Kinds of pairs (two clusters each) that hold ``fraction`` of the pairs, and leave every cluster in another pair."""
    counts = Counter((int(a), int(b)) for a, b in kinds)
    left = Counter(cluster for kind in counts for cluster in set(kind))
    wanted, drawn = round(fraction * len(kinds)), set()
    ordered = sorted(counts)
    for place in np.random.default_rng(seed).permutation(len(ordered)):
        kind = ordered[place]
        if counts[kind] <= wanted and all(left[cluster] > 1 for cluster in kind):
            drawn.add(kind)
            wanted -= counts[kind]
            left.subtract(set(kind))
    return drawn
