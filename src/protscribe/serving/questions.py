"""From a request to records and questions, and from outcomes to the text of a response. No model here."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from protscribe.data.fasta import parse_fasta
from protscribe.data.readers import records_from
from protscribe.data.reading import Counts, Parsed, Reading, ReadOptions
from protscribe.errors import ConfigError, InputError, Where, nearest
from protscribe.outputs.tables import json_texts
from protscribe.records import Failure, Prediction, ProteinRecord
from protscribe.serving.batching import Asked
from protscribe.serving.limits import Limits
from protscribe.serving.problems import failure_plain
from protscribe.serving.schemas import PredictRequest, Protein
from protscribe.task import Task

FASTA = "FASTA text"


class Read(NamedTuple):
    """A request that was understood: its records, proteins that could not be read, and how is asked."""

    records: list[ProteinRecord]
    failures: list[Failure]
    asked: Asked


def read_request(wanted: PredictRequest, tasks: Mapping[str, Task], limits: Limits) -> Read:
    """The records of a request, cleaned as those of a file are.

    Raises :class:`~protscribe.errors.InputError` for what concerns all of it (no header, a repeated id, nucleotides, too many
    proteins), :class:`~protscribe.errors.TaskError` ``task.unknown`` and :class:`~protscribe.errors.ConfigError`
    ``config.unknown_key`` for a field that no task asked has.
    """
    names = None if wanted.tasks is None else tuple(dict.fromkeys(wanted.tasks))
    chosen = [tasks[name] for name in (tasks if names is None else names)]
    reading = _reading(wanted, limits)
    records: list[ProteinRecord] = []
    failures: list[Failure] = []
    for outcome in reading.outcomes():
        if isinstance(outcome, Failure):
            failures.append(outcome)
        else:
            records.append(replace(outcome, fields={**wanted.fields, **outcome.fields}))
        if len(records) + len(failures) > limits.max_proteins:
            message = f"more than {limits.max_proteins} proteins (max_proteins); ask in several requests"
            raise InputError("request.too_many", message)
    _check_fields(records, chosen)
    asked = Asked(
        names, wanted.long, wanted.readout, wanted.probabilities, wanted.calibrated, wanted.coverage,
        wanted.abstain_below,
    )  # fmt: skip
    return Read(records, failures, asked)


def _reading(wanted: PredictRequest, limits: Limits) -> Reading:
    options = ReadOptions(max_residues=limits.max_residues, max_line_bytes=limits.max_body_bytes)
    if isinstance(wanted.proteins, str):
        text = wanted.proteins.encode("utf-8")

        def parse(counts: Counts) -> Iterator[Parsed]:
            return parse_fasta(io.BufferedReader(io.BytesIO(text)), FASTA, options, counts)

        return Reading(parse, on_error="collect", options=options, file=FASTA)
    records = [_record(protein, row) for row, protein in enumerate(wanted.proteins, start=1)]
    return records_from(records, on_error="collect", options=options)


def _record(protein: Protein, row: int) -> ProteinRecord:
    chains = (protein.sequence,) if isinstance(protein.sequence, str) else tuple(protein.sequence)
    return ProteinRecord(protein.id or str(row), chains, protein.smiles, protein.fields)


def _check_fields(records: Sequence[ProteinRecord], tasks: Sequence[Task]) -> None:
    known = {condition.field for task in tasks for condition in task.conditions}
    for record in records:
        for name in record.fields:
            if name not in known:
                message = f"no task that is asked has a field {name!r}; {nearest(name, known)}"
                raise ConfigError("config.unknown_key", message, Where(record=record.id, column=name))


def response_text(
    records: Sequence[ProteinRecord], predictions: Sequence[Prediction], failures: Sequence[Failure]
) -> str:
    """The JSON of a :class:`~protscribe.serving.schemas.PredictResponse`. An answer is, to the letter, the line that
    ``protscribe predict`` writes."""
    read = json.dumps([{"id": record.id, "sequences": list(record.chains)} for record in records])
    answers = ",".join(text for prediction in predictions for text in json_texts(prediction))
    failed = json.dumps([failure_plain(failure) for failure in failures])
    return f'{{"proteins":{read},"predictions":[{answers}],"failures":{failed}}}'
