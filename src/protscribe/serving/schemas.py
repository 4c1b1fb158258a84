"""Requests and answers as typed JSON. The names are those of the library; what may be asked is checked here, what a protein is
by the readers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Chain = Annotated[str, Field(min_length=1)]
Pair = Annotated[list[Chain], Field(min_length=2, max_length=2)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Values = dict[Name, Name]


class Strict(BaseModel):
    """No unknown keys, and no text where a number is meant."""

    model_config = ConfigDict(extra="forbid", strict=True, regex_engine="rust-regex")


class Protein(Strict):
    """One protein, or two that are asked about together."""

    sequence: Chain | Pair = Field(
        description="Residues as one-letter codes, or a list of two such chains for tasks about pairs.",
        examples=["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEK"],
    )
    id: Name | None = Field(
        None, description="What answers call it; its number in the list where there is none."
    )
    fields: Values = Field(
        default_factory=dict, description="Values that tasks are told, by field, such as an allele."
    )
    smiles: Name | None = Field(None, description="The molecule of tasks that read one.")


class PredictRequest(Strict):
    """Proteins, what is asked about them, and how answers are read: see ``Predictor.predict_many``."""

    proteins: Annotated[list[Protein], Field(min_length=1)] | Annotated[str, Field(min_length=1)] = Field(
        description="A list of proteins, or the text of a FASTA file."
    )
    tasks: Annotated[list[Name], Field(min_length=1, max_length=1000)] | None = Field(
        None, description="Names of tasks (see /tasks); without them all that fit each protein."
    )
    fields: Values = Field(
        default_factory=dict, description="Fields of every protein that does not have its own."
    )
    long: Literal["error", "truncate", "window", "full"] = Field(
        "error", description="What happens to chains longer than the encoder was trained on."
    )
    readout: Literal["risk", "greedy"] | None = Field(
        None, description="Read answers of least expected error or greedy ones; without it as each task does."
    )
    probabilities: bool = Field(False, description="Give the probabilities of greedy answers too.")
    calibrated: bool = Field(True, description="Use the calibration that the bundle may have.")
    coverage: Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)] | None = Field(
        None,
        description="A set or an interval beside each answer that holds the truth that often, on average.",
    )
    abstain_below: Share | None = Field(
        None, description="Answers with a score below it get the status abstained."
    )


class ReadProtein(BaseModel):
    """A protein as it was read: blanks and a stop at the end removed, capital letters. All positions count these residues."""

    id: str
    sequences: list[str]


class Guarantee(BaseModel):
    """An answer that was widened until it is missed seldom enough; ``meaning`` says what exactly holds."""

    value: Any
    level: float
    rows: int = Field(description="Held-out proteins that vouch for it.")
    meaning: str


class Answer(BaseModel):
    """One typed answer, the same object as a line of ``protscribe predict output=answers.jsonl``. Positions count from 1."""

    kind: str = Field(description="The kind of answer: category, number, residue_set, residue_labels, ...")
    id: str
    task: str
    prediction: str | float | list[Any] = Field(
        description="A class, a number in ``unit``, a text with a label a residue, or a list of members, positions, "
        "pairs of positions or (label, first, last) segments."
    )
    score: float = Field(description="How sure it is, 0 to 1, in the sense of score_meaning.")
    score_meaning: str
    status: str = Field(description="ok, or what to bear in mind: truncated, condition_unknown, abstained.")
    lower: float | None = None
    upper: float | None = None
    unit: str | None = None
    readout: str
    residues_used: str = Field(description="Residues of each chain that were read, with ; between chains.")
    residues_given: str
    off_grammar: float | None = None
    interval_level: float | None = None
    chain: int | None = Field(None, description="The chain (1 or 2) whose residues the answer names.")
    probabilities: Any = Field(
        None, description="By label, by residue or by bin: as the kind of answer has them."
    )
    standard_error: Any = None
    draws: int | None = None
    quantiles: dict[str, float] | None = None
    calibrated: bool | None = None
    guarantee: Guarantee | None = None


class FailedAnswer(BaseModel):
    """A protein, or one question about it, that got no answer, and why."""

    row: int = Field(ge=1, description="The place of the protein in the request, from 1.")
    id: str
    code: str
    detail: str
    task: str | None = None


class PredictResponse(BaseModel):
    """Answers in the order of the proteins, those of one protein in the order of the tasks. Every question has an answer or a
    failure."""

    proteins: list[ReadProtein]
    predictions: list[Answer]
    failures: list[FailedAnswer]


class Problem(BaseModel):
    """What is wrong: a stable code, a sentence, and the place (field of the request, record, position, ...)."""

    code: str
    detail: str
    where: dict[str, str | int] = Field(default_factory=dict)
    failures: list[FailedAnswer] = Field(
        default_factory=list, description="Of a request of which nothing could be answered."
    )


class FieldInfo(BaseModel):
    """A value that a task is told beside the protein."""

    field: str
    values: list[str]
    required: bool


class TaskInfo(BaseModel):
    """One task that can be asked."""

    name: str
    title: str
    description: str
    reference: str
    kind: str
    choices: str = Field(description="What an answer may say, in words.")
    labels: list[str] = Field(description="Labels in their order, where there are at most 64.")
    unit: str | None
    low: float | None = Field(description="Of a number: the least that can be answered.")
    high: float | None
    chains: int
    molecule: bool
    fields: list[FieldInfo]
    readout: str
    threshold: float
    calibrated: bool
    coverage: float | None = Field(description="The highest coverage that can be asked for; null for none.")


class Tasks(BaseModel):
    """What the bundle can be asked, and how much at once."""

    bundle: str
    tasks: list[TaskInfo]
    max_residues: int
    max_proteins: int
    encoder_limit: int | None = Field(description="Residues of the longest chain the encoder was trained on.")


class Health(BaseModel):
    """``live``: the thread that answers runs. ``ready``: requests are taken."""

    live: bool
    ready: bool
    bundle: str
    waiting: int = Field(description="Proteins in the queue.")
