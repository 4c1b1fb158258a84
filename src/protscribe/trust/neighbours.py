"""What known proteins, or residues of them, say about one that is near: they vote beside the decoder, in the shares that suit
held-out proteins.

A decoder learns a class from many proteins; of a class that has two, such as most EC numbers, it learns next to nothing, while
a protein that resembles one of the two is easily named. Votes are those of a language model's nearest neighbours (Khandelwal
and others 2020, ICLR), the comparison is that of annotation transfer by embeddings (Littmann and others 2021, Sci Rep), and
mean states are whitened before they are compared (Su and others 2021, arXiv 2103.15316): what tells families apart
seems to lie in directions in which states vary little. Of sites among candidates it is residues that vote on residues, each
by its own state.

Shape legend: Q asked proteins (or residues), N known ones, F features of a state, W whitened features, K symbols of the
answer's domain (of residues one: being a site).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protscribe.codecs.protocol import Evidence, First, Floats, Inclusion
from protscribe.codecs.residues import aligned_indices
from protscribe.errors import nearest
from protscribe.records import ProteinRecord
from protscribe.task import Task

States = NDArray[np.float32]
Prompt = tuple[str, ...]
"""The values of a task's conditions, as its symbols are called."""

KINDS = ("category", "category_set", "category_path")
"""Kinds of answer about a whole protein that votes can be counted for."""

ARRAYS = ("mean", "whitening", "keys", "asked", "starts", "members")
NAMES = "names"
"""The array that those may lack which were made before known proteins had names, or without: UTF-8, a line each."""
NUMBERS = ("known", "share", "sharpness", "size", "held_out", "prompts")
TOGETHER = 64
"""Proteins that are compared with all known ones at once."""
CELLS = ("known proteins or residues", "share of the answer", "sharpness", "chosen on")
"""What :func:`cells` says, as the head of a table."""


def cells(plain: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """For people, of what :meth:`Neighbours.to_plain` gave: how many they are, and how much they are listened to."""
    share, sharpness = float(plain["share"]), float(plain["sharpness"])
    return f"{plain['known']:,}", f"{share:.0%}", f"{sharpness:.3g}", f"{plain['held_out']:,} held-out"


def can_vote(task: Task) -> bool:
    """Whether neighbours can vote on a task: on classes, sets and paths of one protein without a molecule, and on sets of
    residues whose candidates are certain letters (``STY``), which are few enough to be compared one by one."""
    answer = task.codec.kind in KINDS or (of_residues(task) and bool(task.codec.candidates))  # type: ignore[attr-defined]
    return answer and task.chains == 1 and not task.molecule


def of_residues(task: Task) -> bool:
    """Whether it is residues that vote, and are voted on."""
    return bool(task.codec.kind == "residue_set")


def compared_residues(task: Task, record: ProteinRecord) -> Sequence[int]:
    """The candidates of a set of residues, 0-based."""
    return aligned_indices(task.codec, record)


def prompt_of(task: Task, record: Any) -> Prompt:
    return tuple(condition.symbol(record).text for condition in task.conditions)


@dataclass(frozen=True)
class Whitening:
    """States less their mean, in directions that all vary alike: ``mean`` [F], ``whitening`` [F, W]."""

    mean: States
    whitening: States

    @classmethod
    def of(cls, states_NF: States, ridge: float) -> Whitening:
        """Of known proteins' states. ``ridge``, in mean variances, is added to each direction's: those that hold nothing but
        noise stay small.
        """
        mean = states_NF.astype(np.float64).mean(axis=0)
        centred = states_NF - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / max(len(centred), 1))
        variances = np.maximum(variances, 0)
        floor = max(ridge * float(variances.mean()), np.finfo(np.float32).tiny)
        return cls(mean.astype(np.float32), (directions / np.sqrt(variances + floor)).astype(np.float32))

    def __call__(self, states_NF: States) -> States:
        """``[N, W]``, each of length 1 (0 where nothing is left of it)."""
        white_NW = (states_NF - self.mean) @ self.whitening
        lengths_N1 = np.linalg.norm(white_NW, axis=1, keepdims=True)
        return np.asarray(white_NW / np.maximum(lengths_N1, np.finfo(np.float32).tiny), dtype=np.float32)


class Voice(NamedTuple):
    """One known protein or residue that votes: its number, how near it is (-1..1), and its share of all votes (0..1)."""

    number: int
    cosine: float
    weight: float


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Known proteins of one task, or their candidate residues, and how much they are listened to.

    ``keys`` [N, W] are their whitened states (float16; means of proteins), ``asked`` [N] says which of ``prompts`` each was
    asked under, and ``members[starts[i]:starts[i + 1]]`` are the ranks, in the answer's domain of ``size`` symbols, that are
    true of protein i (of residues 0, the one symbol there is, for a site). A vote weighs ``exp(sharpness * cosine)``, of all
    known ones that were asked under the same conditions; ``share`` (above 0, at most 1) is that of the votes in the
    answer's probabilities, and ``held_out`` the number of proteins or residues on which both were chosen. ``names`` says what
    each is called, for people (without line breaks); empty where nothing is to be told.
    """

    scale: Whitening
    keys: NDArray[np.float16]
    asked: NDArray[np.int32]
    starts: NDArray[np.int64]
    members: NDArray[np.int32]
    prompts: tuple[Prompt, ...]
    size: int
    share: float
    sharpness: float
    held_out: int = 0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known, (features, width) = len(self.keys), self.scale.whitening.shape
        shapes = (
            (self.scale.mean, (features,), "f"),
            (self.keys, (known, width), "f"),
            (self.asked, (known,), "i"),
            (self.starts, (known + 1,), "i"),
            (self.members, (int(self.starts[-1]) if len(self.starts) else 0,), "i"),
        )
        if (
            any(array.shape != shape or array.dtype.kind != kind for array, shape, kind in shapes)
            or not known
        ):
            raise ValueError("arrays of neighbours do not fit each other")
        numbers = (self.share, self.sharpness)
        if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in numbers):
            raise TypeError(f"share and sharpness must be numbers, got {numbers}")
        if not (0 < self.share <= 1 and 0 < self.sharpness <= 1000 and isfinite(self.sharpness)):
            raise ValueError(f"share must be above 0 and at most 1, sharpness above 0, got {numbers}")
        inside = (self.asked, len(self.prompts)), (self.members, self.size)
        if any(len(array) and not 0 <= array.min() <= array.max() < most for array, most in inside):
            raise ValueError("neighbours name conditions or members that there are not")
        if self.starts[0] != 0 or (np.diff(self.starts) < 0).any():
            raise ValueError("members of neighbours are out of order")
        if len(self.names) not in (0, known) or any("\n" in name for name in self.names):
            raise ValueError(f"names of {len(self.names)} neighbours for {known}, or names of several lines")
        if not all(np.isfinite(array).all() for array in (*vars(self.scale).values(), self.keys)):
            raise ValueError("NaN or infinity in states of neighbours")

    @property
    def known(self) -> int:
        """N."""
        return len(self.keys)

    @cached_property
    def _keys(self) -> States:
        return self.keys.astype(np.float32)

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    def votes(self, states_QF: States, prompts: Sequence[Prompt]) -> Iterator[Floats | None]:
        """Of each protein or residue ``[K]``: the weight of those neighbours of which a symbol is true, 0..1; ``None`` where
        none that is known was asked under its conditions. Of states wider than the known ones' the last features count."""
        for similar_N, asked_N in self._compared(states_QF, prompts):
            weights_N = self._weights(similar_N, asked_N)
            yield None if weights_N is None else self._count(weights_N)

    def nearest(self, states_QF: States, prompts: Sequence[Prompt], most: int) -> Iterator[list[Voice]]:
        """Of each protein or residue the ``most`` known ones whose votes weigh most, heaviest first: those that :meth:`votes`
        counts, so none where nobody was asked under its conditions."""
        for similar_N, asked_N in self._compared(states_QF, prompts):
            weights_N = self._weights(similar_N, asked_N)
            if weights_N is None:
                yield []
                continue
            # By likeness, since of two that are far away neither weighs anything.
            order = np.argsort(-np.where(asked_N, similar_N, -np.inf), kind="stable")
            kept = order[: min(most, int(asked_N.sum()))].tolist()
            yield [Voice(one, float(similar_N[one]), float(weights_N[one])) for one in kept]

    def members_of(self, number: int) -> list[int]:
        """The ranks of what is true of one known protein."""
        found: list[int] = self.members[self.starts[number] : self.starts[number + 1]].tolist()
        return found

    def _compared(
        self, states_QF: States, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
        """Of each protein or residue the cosine of every known one, and which of these were asked the same."""
        numbers = {prompt: number for number, prompt in enumerate(self.prompts)}
        for first in range(0, len(prompts), TOGETHER):
            part = prompts[first : first + TOGETHER]
            compared_QF = states_QF[first : first + TOGETHER, -len(self.scale.mean) :]
            similar_QN = self.scale(compared_QF) @ self._keys.T
            for similar_N, prompt in zip(similar_QN.astype(np.float64), part, strict=True):
                yield similar_N, self.asked == numbers.get(prompt, -1)

    def _weights(self, similar_N: Floats, asked_N: NDArray[np.bool_]) -> Floats | None:
        """The share of each known protein in the votes of those that were asked the same; ``None`` where none was."""
        if not asked_N.any():
            return None
        logs_N = np.where(asked_N, self.sharpness * similar_N, -np.inf)
        weights_N: Floats = np.exp(logs_N - logs_N.max())
        weights_N /= weights_N.sum()
        return weights_N

    def _count(self, weights_N: Floats) -> Floats:
        votes_K = np.bincount(self.members, np.repeat(weights_N, self._counts), minlength=self.size)
        return votes_K.astype(np.float64)

    def mixed(self, evidence: Evidence, votes_K: Floats | None) -> Evidence:
        """The decoder's evidence and the votes, in their shares; greedy strings, and what nobody votes on, as they are."""
        if votes_K is None or not isinstance(evidence, (First, Inclusion)):
            return evidence
        chances_K = (1 - self.share) * evidence.probabilities + self.share * votes_K
        if isinstance(evidence, First):
            return First(chances_K)
        error = evidence.standard_error
        return replace(
            evidence,
            probabilities=chances_K,
            standard_error=None if error is None else (1 - self.share) * error,
        )

    # As a bundle holds it

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that is an array, by name."""
        text = np.frombuffer("\n".join(self.names).encode("utf-8", "surrogateescape"), dtype=np.uint8)
        return {
            **vars(self.scale),
            "keys": self.keys,
            "asked": self.asked,
            "starts": self.starts,
            "members": self.members,
            **({NAMES: text} if self.names else {}),
        }

    def to_plain(self) -> dict[str, Any]:
        """Everything else."""
        return {name: getattr(self, name) for name in NUMBERS}

    @classmethod
    def from_parts(cls, plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Neighbours:
        """The inverse of :meth:`to_plain` and :meth:`arrays`. Raises ``ValueError`` or ``TypeError`` for what those cannot
        have given."""
        named = NAMES in arrays
        for said, known in ((plain, NUMBERS), (arrays, (*ARRAYS, NAMES) if named else ARRAYS)):
            if sorted(said) != sorted(known):
                odd = [name for name in said if name not in known]
                told = (
                    f"no {odd[0]!r}; {nearest(str(odd[0]), known)}" if odd else f"to have {', '.join(known)}"
                )
                raise ValueError(f"neighbours have {told}")
        counts = [plain[name] for name in ("known", "size", "held_out")]
        if not isinstance(plain["prompts"], (list, tuple)) or any(type(count) is not int for count in counts):
            raise TypeError("prompts of neighbours must be a list, and their counts whole numbers")
        if plain["known"] != len(arrays["keys"]):
            raise ValueError(f"there are {len(arrays['keys'])} neighbours, not {plain['known']}")
        return cls(
            Whitening(arrays["mean"], arrays["whitening"]),
            arrays["keys"],
            arrays["asked"],
            arrays["starts"],
            arrays["members"],
            tuple(tuple(map(str, prompt)) for prompt in plain["prompts"]),
            plain["size"],
            plain["share"],
            plain["sharpness"],
            plain["held_out"],
            _lines(arrays[NAMES]) if named else (),
        )


def _lines(text: NDArray[Any]) -> tuple[str, ...]:
    if text.dtype != np.uint8 or text.ndim != 1:
        raise TypeError("names of neighbours must be bytes")
    return tuple(text.tobytes().decode("utf-8", "surrogateescape").split("\n"))
