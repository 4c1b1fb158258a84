"""The neighbours that a bundle's tasks have: arrays in a file of their own, everything else in the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from protscribe.checkpoint.manifest import NEIGHBOURS
from protscribe.checkpoint.weights import check_header
from protscribe.errors import CheckpointError, Where, nearest
from protscribe.records import ProteinRecord
from protscribe.task import Task
from protscribe.trust.neighbours import ARRAYS, NAMES, Neighbours, can_vote, of_residues


def write_neighbours(path: Path, neighbours: Mapping[str, Neighbours]) -> None:
    """Writes their arrays. Raises ``OSError`` where the disk does not take them."""
    arrays = {
        f"{task}/{name}": array for task, near in neighbours.items() for name, array in near.arrays().items()
    }
    try:
        save_file(arrays, path)
    except SafetensorError as error:
        raise OSError(f"the neighbours could not be written: {error}") from error


def read_neighbours(
    folder: Path, told: Mapping[str, Any], tasks: Mapping[str, Task], encoder: Any
) -> dict[str, Neighbours]:
    """The neighbours by task of a folder whose manifest says ``told`` of them, and whose states are those of ``encoder``.

    Raises ``ValueError`` or ``TypeError`` for neighbours that do not fit the tasks or the encoder, and
    :class:`~protscribe.errors.CheckpointError` ``checkpoint.corrupt`` or ``checkpoint.too_large`` for a file that cannot be
    read.
    """
    if not told:
        return {}
    path = folder / NEIGHBOURS
    check_header(path)
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            "checkpoint.corrupt", f"is no safetensors file: {error}", Where(file=str(path))
        ) from None
    needed = {f"{task}/{name}" for task in told for name in ARRAYS}
    allowed = needed | {f"{task}/{NAMES}" for task in told}
    if not needed <= arrays.keys() <= allowed:
        odd = sorted((needed - arrays.keys()) | (arrays.keys() - allowed))
        raise ValueError(
            f"must hold the arrays of {', '.join(told)}; missing or unknown: {', '.join(odd[:5])}"
        )
    found = {}
    for name, plain in told.items():
        if name not in tasks:
            raise ValueError(
                f"neighbours of a task that the bundle has not, {name!r}; {nearest(name, tasks)}"
            )
        own = {array: arrays[f"{name}/{array}"] for array in (*ARRAYS, NAMES) if f"{name}/{array}" in arrays}
        near = Neighbours.from_parts(plain, own)
        if not can_vote(tasks[name]) or near.size != symbols_of(tasks[name]):
            raise ValueError(f"neighbours of task {name!r} do not fit its answers")
        # Those of bundles from before docs/decisions/0023 have no states of the base.
        widths = dict.fromkeys((getattr(encoder, "compared_width", encoder.width), encoder.width))
        if len(near.scale.mean) not in widths:
            raise ValueError(
                f"neighbours of task {name!r} have states of {len(near.scale.mean)} numbers, the encoder's have "
                f"{' or '.join(map(str, widths))}"
            )
        found[name] = near
    return found


def symbols_of(task: Task) -> int:
    """How many symbols neighbours can vote for: those of the domain of the task's answers, which is the same for all proteins;
    of residues one, being a site."""
    if of_residues(task):
        return 1
    grammar: Any = task.codec.grammar(ProteinRecord("", ("M",)))
    return len(grammar.domain.tokens())
