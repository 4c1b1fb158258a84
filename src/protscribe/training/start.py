"""The bundle that a run starts from, and what of it the run may change.

Its architecture is fixed, its vocabulary only grows, and its tasks stay what they were.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from protscribe.architecture import SIZES
from protscribe.checkpoint import Bundle, find_bundle, load_bundle
from protscribe.checkpoint.lineage import trained_on
from protscribe.codecs.protocol import Readout
from protscribe.data.lexicon import Lexicon
from protscribe.data.mixture import Mixture
from protscribe.data.source import Source
from protscribe.errors import CheckpointError, ConfigError, nearest
from protscribe.growth import added_labels
from protscribe.nn.growth import append_symbols, hold_known
from protscribe.nn.model import Scribe
from protscribe.task import Task
from protscribe.trust import Trust
from protscribe.trust.neighbours import Neighbours

if TYPE_CHECKING:
    from protscribe.evaluation.change import Changes

Grow = Literal["symbols", "decoder", "all"]
GROW: tuple[Grow, ...] = ("symbols", "decoder", "all")

log = logging.getLogger(__name__)

IGNORED = ("weights", "local_files_only")
"""Keys of an encoder's configuration that say where weights come from: here they come from the bundle."""


@dataclass(frozen=True)
class Start:
    """A loaded bundle, the name it was asked for by, and what is trained of it.

    ``grow``: ``"symbols"`` (rows of new symbols; all else stays, dropout is off, and old answers are the same to the last
    bit), ``"decoder"`` (all of the decoder) or ``"all"`` (the encoder as well, as adapted).
    """

    name: str
    bundle: Bundle
    grow: Grow

    @property
    def known(self) -> int:
        """The size of the bundle's vocabulary."""
        return len(self.bundle.lexicon.vocabulary)

    @property
    def seal(self) -> str:
        """What identifies the bundle as a whole."""
        return str(self.bundle.manifest["seal"])

    @property
    def provenance(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.bundle.manifest["provenance"]
        return found

    def for_data(self) -> dict[str, Any]:
        """Keywords of :class:`~protscribe.data.datamodule.ScribeData`."""
        return {
            "known": self.bundle.tasks,
            "lexicon": self.bundle.lexicon,
            "staged": self.grow == "symbols",
        }

    def with_replay(self, mixture: Mixture, sources: Mapping[str, Source], share: float) -> Mixture:
        """The mixture with ``share`` of its samples from what the bundle was trained on, as far as ``sources`` has it."""
        if not share:
            return mixture
        told = trained_on(self.bundle.manifest)
        known = {name: entry for name, entry in told.items() if entry["source"] in sources}
        replayed = {entry["task"] for entry in (*known.values(), *mixture.to_plain().values())}
        lost = [name for name in self.bundle.tasks if name not in replayed]
        if lost:
            log.warning("not replayed, since no source of their rows is known here: %s", ", ".join(lost))
        return mixture.with_replay(known, share)

    def fixed(self) -> dict[str, Any]:
        """What a run that goes on from a checkpoint must have in common with the one that wrote it."""
        return {"bundle": self.seal, "grow": self.grow}

    def grown(self, lexicon: Lexicon, seed: int) -> Scribe:
        """The bundle's model with rows for the new symbols of ``lexicon``, in which all else is held where it must not change.

        The model is the bundle's own, changed in place.
        """
        model = self.bundle.model
        fresh = lexicon.vocabulary.symbols[self.known :]
        if not fresh and self.grow == "symbols":
            raise ConfigError(
                "config.value",
                "grow=symbols trains new symbols, and the bundle has all that these tasks need; use grow=decoder or grow=all",
            )
        append_symbols(model.decoder, fresh, seed)
        if self.grow == "symbols":
            hold_known(model, model.decoder, self.known)
        return model

    def inherited(
        self, provenance: Mapping[str, Any], lexicon: Lexicon, tasks: Mapping[str, Task]
    ) -> dict[str, Any]:
        """The provenance of this run's bundle: what holds of its beginning holds of it, and where it began."""
        before = self.provenance
        entries = dict(provenance["mixture"])
        seen = {(entry["task"], entry["source"]) for entry in entries.values()}
        for name, entry in trained_on(self.bundle.manifest).items():
            if (entry["task"], entry["source"]) not in seen:
                entries[f"{name} before" if name in entries else name] = entry
        merged = {
            "mixture": entries,
            "sources": {name: entry["source"] for name, entry in entries.items()},
            "licences": {**(before.get("licences") or {}), **provenance["licences"]},
        }
        growth = {
            # Where a folder lies says something about a machine; its last names suffice to recognise it.
            "from": "/".join(Path(self.name).parts[-2:]),
            "seal": self.seal,
            "created": self.bundle.manifest["created"],
            "trained": self.grow,
            "tasks": sorted(tasks),
            "symbols": [self.known, len(lexicon.vocabulary)],
        }
        lineage = [*before.get("lineage", ()), growth]
        return {**provenance, **merged, "encoder": before.get("encoder") or {}, "lineage": lineage}

    def changes(
        self,
        written: Path,
        mixture: Mixture,
        sources: Mapping[str, Source],
        *,
        rows: int,
        seed: int,
        root: str | Path,
        device: str,
    ) -> Changes:
        """Every task of the bundle ``written`` by this run, before the run and after it, where rows of it are known."""
        from protscribe.evaluation.change import Changes, measure_changes
        from protscribe.predictor import Predictor

        provenance = {"from": self.name, "seal": self.seal, "trained": self.grow}
        after = Predictor.load(str(written), device)
        # The bundle in hand has been trained on; on the disk it is what it was, unless somebody has changed it.
        try:
            before = Predictor.load(self.name, device)
        except CheckpointError as error:
            return Changes((), dict.fromkeys(after.tasks, str(error)), provenance)
        if before.bundle.manifest["seal"] != self.seal:
            why = f"{self.name} is not the bundle any more that this run started from"
            return Changes((), dict.fromkeys(after.tasks, why), provenance)
        by_task: dict[str, list[Source]] = {}
        lost: dict[str, str] = {}
        for entry in (*trained_on(self.bundle.manifest).values(), *mixture.to_plain().values()):
            source = sources.get(entry["source"])
            if source is None:
                lost[entry["task"]] = f"its source {entry['source']!r} is not known here"
            elif source not in by_task.setdefault(entry["task"], []):
                by_task[entry["task"]].append(source)
        return measure_changes(
            before, after, by_task, lost, rows=rows, seed=seed, root=root, provenance=provenance
        )

    def kept_readouts(self, tasks: Mapping[str, Task]) -> dict[str, Readout]:
        """Readouts that must stay: of tasks whose answers cannot have changed."""
        if self.grow != "symbols":
            return {}
        return {
            name: self.bundle.readouts[name]
            for name, task in self.bundle.tasks.items()
            if name not in tasks or not added_labels(task, tasks[name])
        }

    def kept_trust(self, kept: Iterable[str]) -> dict[str, Trust]:
        """What is still known of the trust in the bundle's tasks: all of those in ``kept``, whose answers cannot have changed;
        of others the calibration, on which their readouts rest, and no guarantee."""
        same = set(kept)
        known = {
            name: trust if name in same else Trust(trust.calibration)
            for name, trust in self.bundle.trust.items()
        }
        return {name: trust for name, trust in known.items() if trust}

    def kept_neighbours(self, kept: Iterable[str]) -> dict[str, Neighbours]:
        """Those of tasks whose answers cannot have changed: other tasks' states and labels may be others now."""
        same = set(kept)
        return {name: near for name, near in self.bundle.neighbours.items() if name in same}


def load_start(
    name: str,
    grow: str,
    run: Path,
    *,
    encoder: Mapping[str, Any] | None,
    decoder: Any,
    molecule_encoder: Mapping[str, Any] | None,
) -> Start:
    """The bundle ``name``, checked against what the run is configured to have.

    ``decoder`` is the factory that training was given, or its settings. Raises :class:`~protscribe.errors.ConfigError`:
    ``config.value`` for another ``grow`` and for a ``run`` whose own bundle would replace this one, ``config.fixed`` for an
    architecture that differs; and whatever loading the bundle raises.
    """
    if grow not in GROW:
        raise ConfigError(
            "config.value", f"grow must be one of {', '.join(GROW)}; {nearest(str(grow), GROW)}"
        )
    if find_bundle(name).resolve() == (run / "bundle").resolve():
        raise ConfigError(
            "config.value",
            f"this run would replace the bundle it starts from, {name}; give the run another name (name=...)",
        )
    bundle = load_bundle(name)
    architecture = bundle.manifest["architecture"]
    loaded_from = bundle.manifest["provenance"].get("encoder")
    problems = []
    if encoder is not None and dict(encoder) != loaded_from:
        problems += _unequal("encoder", encoder, architecture["encoder"])
    if molecule_encoder is not None:
        problems += _unequal("molecule_encoder", molecule_encoder, architecture["molecule_encoder"] or {})
    if decoder is not None:
        problems += _unequal(
            "decoder", getattr(decoder, "keywords", decoder), {**SIZES, **architecture["decoder"]}
        )
    if problems:
        raise ConfigError(
            "config.fixed",
            f"the bundle {name} fixes its architecture, and is configured otherwise: {'; '.join(problems)}. "
            "Leave these keys out",
        )
    return Start(name, bundle, grow)


def _unequal(part: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """The keys of a configuration that differ from a bundle's architecture."""
    found = []
    for key, value in given.items():
        if key in IGNORED:
            continue
        has = known.get(key, "nothing of the kind")
        wanted = (
            {**has, **value} if isinstance(has, Mapping) and isinstance(value, Mapping) else _plain(value)
        )
        if wanted != has:
            found.append(f"{part}.{key} is {value!r}, the bundle's is {has!r}")
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
