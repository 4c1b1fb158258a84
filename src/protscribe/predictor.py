"""The predictor: proteins in, typed answers out. What notebooks, batch jobs and evaluation use.

A prediction depends on its record, its task and the seed, never on the records around it: proteins are batched by length only
to save time. What cannot be answered is a :class:`~protscribe.records.Failure` with a reason, never skipped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from protscribe.data.collate import Collator
from protscribe.data.lengths import LengthPolicy
from protscribe.data.readers import records_from
from protscribe.data.reading import OnError, Reading, ReadOptions
from protscribe.devices import find_device
from protscribe.encoders import Windowed
from protscribe.errors import ConfigError, InputError, TaskError, nearest
from protscribe.generation.answering import Answered, Asking, Way
from protscribe.inquiry import Inquiry, Outcome, Settings
from protscribe.inspection import inputs_of
from protscribe.nn.model import Scribe
from protscribe.planning import MULTIPLE, Refused
from protscribe.predictions import PredictionSet
from protscribe.progress import progress as telling
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.task import Task

if TYPE_CHECKING:
    from protscribe.checkpoint import Bundle

ON_CPU, ON_GPU = 2048, 32_768
"""Residues of a batch where none are asked for: on a CPU what its caches hold (measured by ``benchmarks/first_light.py``), on a
GPU what keeps it busy."""
OVERLAP = 128
"""Residues that neighbouring windows share, at most; a quarter of what an encoder reads where that is less."""


class Tasks(Mapping[str, Task]):
    """The tasks of a model by name; shown as a table."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._tasks = dict(tasks)

    def __getitem__(self, name: str) -> Task:
        found = self._tasks.get(name)
        if found is None:
            raise TaskError(
                "task.unknown", f"this model has no task {name!r}; {nearest(str(name), self._tasks)}"
            )
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Name, kind of answer, what goes in, and title, of every task."""
        return [(name, task.codec.kind, inputs_of(task), task.title) for name, task in self.items()]

    def __repr__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column), default=0) for column in list(zip(*rows, strict=True))[:3]]
        lines = (
            "  ".join([*(f"{c:{w}}" for c, w in zip(row[:3], widths, strict=True)), row[3]]) for row in rows
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("task", "answer", "input", "title"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Predictor:
    """Answers the questions of a bundle's tasks about proteins.

    Parameters
    ----------
    bundle: what :func:`protscribe.checkpoint.load_bundle` gives. device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    asking: how many prefixes or answers are drawn where an answer is read from draws, and their seed.
    """

    def __init__(
        self, bundle: Bundle, device: str | torch.device = "auto", asking: Asking | None = None
    ) -> None:
        self.bundle = bundle
        self.device = find_device(str(device))
        self.asking = asking or Asking()
        self.tasks = Tasks(bundle.tasks)
        self._model = bundle.model.to(self.device).eval()
        encoder: Any = self._model.encoder
        self.limit: int | None = encoder.limit
        # Windows are a way to run the same encoder, not another model: parts and weights are shared.
        self._windowed = self._model
        if self.limit is not None:
            windowed = Windowed(encoder, self.limit, min(OVERLAP, self.limit // 4))
            self._windowed = Scribe(windowed, self._model.decoder, self._model.molecule_encoder).eval()
        molecules: Any = self._model.molecule_encoder
        self._collate = Collator(bundle.lexicon, None if molecules is None else molecules.tokenize, MULTIPLE)

    @classmethod
    def load(
        cls,
        bundle: str,
        device: str = "auto",
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        asking: Asking | None = None,
    ) -> Predictor:
        """The predictor of a bundle folder or a Hub name ``org/name``.

        Raises :class:`~protscribe.errors.CheckpointError` for a bundle that is missing, damaged or foreign, and
        :class:`~protscribe.errors.DeviceError` ``device.missing``.
        """
        from protscribe.checkpoint import load_bundle

        found = find_device(device)
        loaded = load_bundle(bundle, device=str(found), revision=revision, local_files_only=local_files_only)
        return cls(loaded, found, asking)

    def predict(
        self,
        protein: Any,
        task: str,
        *,
        long: LengthPolicy = "error",
        readout: Way | None = None,
        smiles: str | None = None,
        **fields: str,
    ) -> Prediction:
        """One answer about one protein: a sequence, a pair ``(a, b)`` of them, a SeqRecord or a ProteinRecord.

        ``fields`` are the task's conditioning values (``allele="HLA-A02:01"``) and ``smiles`` its molecule. Raises what
        :meth:`predict_many` collects.
        """
        chosen = self.tasks[task]
        known = [condition.field for condition in chosen.conditions]
        for name in fields:
            if name not in known:
                raise ConfigError(
                    "config.unknown_key", f"task {task!r} has no condition {name!r}; {nearest(name, known)}"
                )
        record = _one_record(protein)
        given = {name: str(value) for name, value in fields.items()}
        record = replace(record, fields={**record.fields, **given}, molecule=smiles or record.molecule)
        (outcome,) = self._outcomes([record], [task], self._settings(long, readout))
        if isinstance(outcome, Prediction):
            return outcome
        assert isinstance(outcome, Refused)
        raise outcome.error

    def predict_many(
        self,
        inputs: Any,
        tasks: Sequence[str] | str | None = None,
        *,
        on_error: OnError = "collect",
        long: LengthPolicy = "error",
        readout: Way | None = None,
        batch_residues: int | None = None,
        progress: bool = False,
        columns: Mapping[str, str] | None = None,
        options: ReadOptions | None = None,
    ) -> PredictionSet:
        """Answers about many proteins, in input order, those of one protein in the order of ``tasks``.

        Parameters
        ----------
        inputs: a list of sequences, ``{id: sequence}``, a data frame, SeqRecords, ProteinRecords or a ``Path``; see
            :func:`protscribe.data.readers.records_from`, also for ``columns`` and ``options``.
        tasks: names; ``None`` asks of each record all that fit its chains and molecule.
        on_error: ``"collect"`` puts what cannot be answered into the result's ``failures``, ``"raise"`` stops at the first.
        long: what happens to proteins beyond the encoder's limit (see :mod:`protscribe.data.lengths`).
        readout: ``"risk"`` or ``"greedy"`` for all tasks; ``None`` takes each task's own, chosen on validation data.
        batch_residues: residues that are encoded side by side, padding included; less needs less memory, ``None``
            is what suits the device.
        progress: tell how far it is.
        """
        reading = records_from(inputs, columns=columns, on_error=on_error, options=options or ReadOptions())
        asked: dict[str, Any] = {
            "long": long,
            "readout": readout,
            "batch_residues": batch_residues,
            "on_error": on_error,
        }
        predictions: list[Prediction] = []
        failures: list[Failure] = []
        done, total = 0, len(inputs) if isinstance(inputs, Sized) and not isinstance(inputs, str) else None
        with telling("predict", total, shown=progress) as advance:
            for outcome in self.stream(reading, tasks, **asked):
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                else:
                    predictions.append(outcome)
                ordinal = outcome.ordinal if isinstance(outcome, Failure) else outcome.record.ordinal
                advance(max(0, ordinal + 1 - done))
                done = max(done, ordinal + 1)
        counts = {name: count for name, count in reading.counts.items() if name != "failures"}
        return PredictionSet(predictions, failures, counts)

    def stream(
        self,
        records: Iterable[ProteinRecord | Failure],
        tasks: Sequence[str] | str | None = None,
        *,
        long: LengthPolicy = "error",
        readout: Way | None = None,
        batch_residues: int | None = None,
        on_error: OnError = "collect",
    ) -> Iterator[Prediction | Failure]:
        """Answers in input order, in memory bounded by a chunk of some thousand records; failures of ``records`` pass through.

        ``records`` are cleaned ones, as readers give them; the keywords are those of :meth:`predict_many`.
        """
        items = records.outcomes() if isinstance(records, Reading) else records
        for outcome in self._outcomes(items, tasks, self._settings(long, readout, batch_residues)):
            if isinstance(outcome, Refused):
                if on_error == "raise":
                    raise outcome.error
                yield outcome.failure()
            else:
                yield outcome

    def evidence(
        self,
        records: Sequence[ProteinRecord],
        task: str,
        way: Way = "risk",
        *,
        long: LengthPolicy = "window",
        batch_residues: int | None = None,
    ) -> list[Answered]:
        """What the model says about each record before an answer is read from it, for choosing readouts.

        Raises at the first record that cannot be asked.
        """
        return self._inquiry(self._settings(long, way, batch_residues)).evidence(records, self.tasks[task])

    def _outcomes(
        self, items: Iterable[ProteinRecord | Failure], tasks: Sequence[str] | str | None, settings: Settings
    ) -> Iterator[Outcome]:
        names = (
            [tasks] if isinstance(tasks, str) else list(dict.fromkeys(self.tasks if tasks is None else tasks))
        )
        chosen = [self.tasks[name] for name in names]
        return self._inquiry(settings).outcomes(items, chosen, all_of_them=tasks is not None)

    def _settings(
        self, long: LengthPolicy, readout: Way | None, batch_residues: int | None = None
    ) -> Settings:
        usual = ON_CPU if self.device.type == "cpu" else ON_GPU
        return Settings(long, readout, usual if batch_residues is None else batch_residues)

    def _inquiry(self, settings: Settings) -> Inquiry:
        return Inquiry(
            model=self._windowed if settings.long == "window" else self._model,
            lexicon=self.bundle.lexicon,
            collate=self._collate,
            device=self.device,
            readouts=self.bundle.readouts,
            limit=self.limit,
            asking=self.asking,
            settings=settings,
        )

    def __repr__(self) -> str:
        return f"Predictor on {self.device}, {len(self.tasks)} tasks:\n{self.tasks!r}"

    def _repr_html_(self) -> str:
        return self.tasks._repr_html_()


def _one_record(protein: Any) -> ProteinRecord:
    pair = isinstance(protein, tuple) and len(protein) == 2
    records = list(records_from({"1": protein} if pair else protein))
    if len(records) != 1:
        raise InputError(
            "input.type", f"one protein is wanted, got {len(records)}; predict_many takes several"
        )
    return records[0]
