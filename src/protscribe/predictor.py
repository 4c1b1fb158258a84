"""The predictor: proteins in, typed answers out. What notebooks, batch jobs and evaluation use.

A prediction depends on its record, its task and the seed, never on the records around it: proteins are batched by length only
to save time. What cannot be answered is a :class:`~protscribe.records.Failure` with a reason, never skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from protscribe.alternatives import Alternatives
from protscribe.data.collate import Collator
from protscribe.data.lengths import LengthPolicy
from protscribe.data.readers import records_from
from protscribe.data.reading import OnError, Reading, ReadOptions
from protscribe.devices import find_device
from protscribe.encoders import Windowed
from protscribe.errors import ConfigError, InputError, nearest
from protscribe.generation.answering import Answered, Asking, Way
from protscribe.generation.settings import Search
from protscribe.inquiry import Inquiry, Outcome, Settings, TasksOf
from protscribe.inspection import Tasks
from protscribe.nn.execution import Precision, compile_parts, set_precision
from protscribe.nn.model import Scribe
from protscribe.planning import MULTIPLE, Refused
from protscribe.predictions import PredictionSet
from protscribe.prefix import Prefix
from protscribe.progress import progress as telling
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.shortlist import Candidates, Shortlist, Wish
from protscribe.trust.neighbours import States

if TYPE_CHECKING:
    from protscribe.checkpoint import Bundle
    from protscribe.explanation import Explanation
    from protscribe.known import Known

ON_CPU, ON_GPU = 6144, 32_768
"""Residues of a batch where none are asked for: enough texts side by side that a step's reading of weights is shared. A CPU
encodes a batch in lots (see ``protscribe.nn.model``)."""
OVERLAP = 128
"""Residues that neighbouring windows share, at most; a quarter of what an encoder reads where that is less."""


class Predictor:
    """Answers the questions of a bundle's tasks about proteins.

    Parameters
    ----------
    bundle: what :func:`protscribe.checkpoint.load_bundle` gives. device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    asking: how many prefixes or answers are drawn where an answer is read from draws, and their seed.
    precision: ``"float32"``, or ``"bfloat16"``: the bundle's own weights are cast, which halves memory and is faster on a GPU
        (on a CPU without bfloat16 products it is slower). compile: compile encoders and decoder when first used, which takes a
        minute or more and pays for large inputs; answers stay the same.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str | torch.device = "auto",
        asking: Asking | None = None,
        *,
        precision: Precision = "float32",
        compile: bool = False,
    ) -> None:
        self.bundle = bundle
        self.device = find_device(str(device))
        self.asking = asking or Asking()
        self.tasks = Tasks(bundle.tasks)
        self._model = bundle.model.to(self.device).eval()
        set_precision(self._model, precision)
        if compile:
            compile_parts(self._model.encoder, self._model.molecule_encoder, self._model.decoder)
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
        precision: Precision = "float32",
        compile: bool = False,
    ) -> Predictor:
        """The predictor of a bundle: a folder, a released one's name, or ``org/name`` on the Hub.

        Raises :class:`~protscribe.errors.CheckpointError` for a bundle that is missing, damaged or foreign, and
        :class:`~protscribe.errors.DeviceError` ``device.missing``.
        """
        from protscribe.checkpoint import load_bundle

        found = find_device(device)
        loaded = load_bundle(bundle, device=str(found), revision=revision, local_files_only=local_files_only)
        return cls(loaded, found, asking, precision=precision, compile=compile)

    def predict(
        self,
        protein: Any,
        task: str,
        *,
        long: LengthPolicy = "error",
        readout: Way | None = None,
        probabilities: bool = False,
        calibrated: bool = True,
        coverage: float | None = None,
        abstain_below: float | None = None,
        candidates: Candidates | None = None,
        prefix: Prefix | None = None,
        smiles: str | None = None,
        **fields: str,
    ) -> Prediction:
        """One answer about one protein: a sequence, a pair ``(a, b)`` of them, a SeqRecord or a ProteinRecord.

        ``fields`` are the task's conditioning values (``allele="HLA-A02:01"``) and ``smiles`` its molecule. ``readout``,
        ``probabilities``, ``calibrated``, ``coverage``, ``abstain_below``, ``candidates`` and ``prefix`` as in
        :meth:`predict_many`. Raises what that collects.
        """
        record = self._record(protein, task, smiles, fields)
        wish = Wish(prefix=prefix, candidates=candidates)
        settings = self._settings(
            long, readout,
            probabilities=probabilities, calibrated=calibrated, coverage=coverage, abstain_below=abstain_below,
        )  # fmt: skip
        return self._one(record, task, settings, wish)

    def n_best(
        self,
        protein: Any,
        task: str,
        n: int = 5,
        *,
        search: Search | None = None,
        prefix: Prefix | None = None,
        long: LengthPolicy = "error",
        smiles: str | None = None,
        **fields: str,
    ) -> Alternatives:
        """The ``n`` best whole answers about one protein, with their exact probabilities; fewer where fewer were found.

        ``search`` says how they are sought: :class:`~protscribe.generation.settings.Beam` (the most probable ones; with
        ``groups`` such as differ from each other) or :class:`~protscribe.generation.settings.Sample` (drawn ones). With a
        ``prefix`` all begin with it, and probabilities are those given it.

        The best alternative is the most probable *string*. :meth:`predict` reads the answer of least expected error, which
        for numbers, labels of residues and sets is often another one.
        """
        record = self._record(protein, task, smiles, fields)
        found: Alternatives = self._one(
            record, task, self._settings(long, None), Wish(n, search, prefix)
        ).alternatives
        return found

    def n_best_many(
        self,
        inputs: Any,
        tasks: Sequence[str] | str | None = None,
        n: int = 5,
        *,
        search: Search | None = None,
        prefix: Prefix | None = None,
        **how: Any,
    ) -> PredictionSet:
        """The ``n`` best answers about many proteins: predictions that hold them as ``alternatives``, and the best as value.

        ``search`` and ``prefix`` as in :meth:`n_best`, ``how`` as in :meth:`predict_many`. Tables of the result have one row
        an alternative.
        """
        return self._many(inputs, tasks, Wish(n, search, prefix), **how)

    def explain(
        self,
        protein: Any,
        task: str,
        *,
        about: str | int | None = None,
        window: int = 5,
        step: int | None = None,
        long: LengthPolicy = "error",
        smiles: str | None = None,
        **fields: str,
    ) -> Explanation:
        """What the answer about one protein rests on, as far as one can look: attention, and what hiding residues does.

        The answer is that of least risk, as :meth:`predict` gives it with ``readout="risk"``. ``about``, ``window``, ``step``
        and errors as in :func:`protscribe.explanation.explain`, which says how much this means. Costs one encoding a window.
        """
        from protscribe.explanation import explain

        record = self._record(protein, task, smiles, fields)
        inquiry = self._inquiry(self._settings(long, "risk"))
        return explain(inquiry, record, self.tasks[task], about=about, window=window, step=step)

    def nearest(
        self,
        protein: Any,
        task: str,
        most: int = 5,
        *,
        about: int | None = None,
        long: LengthPolicy = "window",
        **fields: str,
    ) -> tuple[Known, ...]:
        """The known proteins whose votes on one protein weigh most, heaviest first; of a set of residues, those of each
        candidate, or of the one at the 1-based position ``about``. See :func:`protscribe.known.nearest_known`."""
        from protscribe.known import nearest_known

        record = self._record(protein, task, None, fields)
        inquiry = self._inquiry(self._settings(long, None))
        return nearest_known(inquiry, record, self.tasks[task], most, None if about is None else [about])

    def _record(
        self, protein: Any, task: str, smiles: str | None, fields: Mapping[str, str]
    ) -> ProteinRecord:
        chosen = self.tasks[task]
        known = [condition.field for condition in chosen.conditions]
        for name in fields:
            if name not in known:
                raise ConfigError(
                    "config.unknown_key", f"task {task!r} has no condition {name!r}; {nearest(name, known)}"
                )
        record = _one_record(protein)
        given = {name: str(value) for name, value in fields.items()}
        return replace(record, fields={**record.fields, **given}, molecule=smiles or record.molecule)

    def _one(self, record: ProteinRecord, task: str, settings: Settings, wish: Wish) -> Prediction:
        (outcome,) = self._outcomes([record], [task], settings, wish)
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
        probabilities: bool = False,
        calibrated: bool = True,
        coverage: float | None = None,
        abstain_below: float | None = None,
        candidates: Candidates | None = None,
        prefix: Prefix | None = None,
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
        probabilities: give those of greedy answers too, which costs a further pass; answers of least risk have them in any
            case (see :class:`~protscribe.records.Prediction`).
        calibrated: whether probabilities go through the calibrations that the bundle may have, as its thresholds expect.
        coverage: 0.9, say: beside each answer a ``guarantee``, a set or an interval that holds the truth that often on average
            over proteins like the held-out ones; :mod:`protscribe.trust.conformal` says exactly what, and the errors.
        abstain_below: answers whose score is below it get the status ``"abstained"``; none is left out.
        candidates: answers to choose among, of one task: a list for all records, or ``{id: list}``, each written as in a table
            or as a value. The most probable one is the answer, ``probabilities`` are shares among them, ``alternatives`` hold
            the absolute ones.
        prefix: what the answers of one task must begin with, as :mod:`protscribe.prefix` says; they are read greedily.
        batch_residues: residues of proteins answered side by side, padding included; less needs less memory, ``None``
            is what suits the device.
        progress: tell how far it is.
        """
        return self._many(
            inputs, tasks, Wish(prefix=prefix, candidates=candidates),
            on_error=on_error, long=long, readout=readout, probabilities=probabilities, batch_residues=batch_residues,
            progress=progress, columns=columns, options=options,
            calibrated=calibrated, coverage=coverage, abstain_below=abstain_below,
        )  # fmt: skip

    def _many(
        self,
        inputs: Any,
        tasks: Sequence[str] | str | None,
        wish: Wish,
        *,
        progress: bool = False,
        columns: Mapping[str, str] | None = None,
        options: ReadOptions | None = None,
        on_error: OnError = "collect",
        **how: Any,
    ) -> PredictionSet:
        reading = records_from(inputs, columns=columns, on_error=on_error, options=options or ReadOptions())
        predictions: list[Prediction] = []
        failures: list[Failure] = []
        done, total = 0, len(inputs) if isinstance(inputs, Sized) and not isinstance(inputs, str) else None
        with telling("predict", total, shown=progress) as advance:
            for outcome in self.stream(reading, tasks, on_error=on_error, wish=wish, **how):
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
        probabilities: bool = False,
        batch_residues: int | None = None,
        on_error: OnError = "collect",
        wish: Wish | None = None,
        tasks_of: TasksOf | None = None,
        **trusted: Any,
    ) -> Iterator[Prediction | Failure]:
        """Answers in input order, in memory bounded by a chunk of some thousand records; failures of ``records`` pass through.

        ``records`` are cleaned ones, as readers give them; the keywords are those of :meth:`predict_many`, and ``wish`` is
        what is wished for beyond usual answers; ``tasks_of`` gives those of ``tasks`` that a record is asked, or ``None`` for
        all that fit it; ``trusted`` are ``calibrated``, ``coverage``, ``abstain_below`` and
        ``record_seconds``.
        """
        items = records.outcomes() if isinstance(records, Reading) else records
        settings = self._settings(long, readout, batch_residues, probabilities, **trusted)
        for outcome in self._outcomes(items, tasks, settings, wish or Wish(), tasks_of):
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
        calibrated: bool = True,
    ) -> list[Answered]:
        """What the model says about each record before an answer is read from it, for choosing readouts.

        Its probabilities are calibrated where the bundle can and ``calibrated`` is true. Raises at the first record that cannot
        be asked.
        """
        settings = self._settings(long, way, batch_residues, calibrated=calibrated)
        return self._inquiry(settings).evidence(records, self.tasks[task])

    def compared(self, records: Sequence[ProteinRecord], task: str, long: LengthPolicy = "window") -> States:
        """What neighbours are found by, of records of a task of one chain: the mean encoder state of each, ``[N, F]``, or of a
        set of residues the states of its candidates, end to end. Of a small encoder on top of a large one F holds both."""
        return self._inquiry(self._settings(long, None)).compared(records, self.tasks[task])

    def _outcomes(
        self,
        items: Iterable[ProteinRecord | Failure],
        tasks: Sequence[str] | str | None,
        settings: Settings,
        wish: Wish,
        tasks_of: TasksOf | None = None,
    ) -> Iterator[Outcome]:
        names = (
            [tasks] if isinstance(tasks, str) else list(dict.fromkeys(self.tasks if tasks is None else tasks))
        )
        chosen = [self.tasks[name] for name in names]
        wish.check(chosen, settings.readout, settings.probabilities)
        if wish and (settings.coverage is not None or settings.abstain_below is not None):
            raise ConfigError(
                "config.value",
                "coverage and abstain_below are about usual answers: give neither prefix, candidates nor n_best with them",
            )
        inquiry = self._inquiry(settings, wish)
        inquiry.check(chosen)
        return inquiry.outcomes(items, chosen, all_of_them=tasks is not None, tasks_of=tasks_of)

    def _settings(
        self,
        long: LengthPolicy,
        readout: Way | None,
        batch_residues: int | None = None,
        probabilities: bool = False,
        **trusted: Any,
    ) -> Settings:
        usual = ON_CPU if self.device.type == "cpu" else ON_GPU
        residues = usual if batch_residues is None else batch_residues
        return Settings(long, readout, residues, probabilities, **trusted)

    def _inquiry(self, settings: Settings, wish: Wish | None = None) -> Inquiry:
        parts: dict[str, Any] = {
            "model": self._windowed if settings.long == "window" else self._model,
            "lexicon": self.bundle.lexicon,
            "collate": self._collate,
            "device": self.device,
            "readouts": self.bundle.readouts,
            "limit": self.limit,
            "asking": self.asking,
            "settings": settings,
            "trust": self.bundle.trust,
            "neighbours": self.bundle.neighbours,
        }
        return Shortlist(**parts, wish=wish) if wish else Inquiry(**parts)

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
