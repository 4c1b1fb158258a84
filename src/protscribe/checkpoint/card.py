"""The model card of a bundle: what a person reads on the Hub or beside the weights. Nothing reads it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from protscribe.codecs.protocol import Readout
from protscribe.task import Task
from protscribe.trust import CELLS, Trust
from protscribe.trust import neighbours as near
from protscribe.vocabulary import Vocabulary

LICENCES = {"facebook/esm": "MIT"}
"""Licences of published encoder weights, by how their Hub name begins."""

LIMITS = (
    "Predictions are statistical estimates and no substitute for an experiment; a score is no proof.",
    "Proteins unlike those it was trained on (other families, designed or very long sequences) "
    "are answered all the same, and worse.",
    "Every answer is well-formed by construction, also where the model knows nothing: look at the score "
    "and at the off-grammar mass.",
)


def render_card(
    name: str,
    tasks: Mapping[str, Task],
    vocabulary: Vocabulary,
    readouts: Mapping[str, Readout],
    content: Mapping[str, Any],
) -> str:
    """Markdown with the Hub's front matter. ``content`` is the manifest's, from which sizes and provenance
    are told."""
    provenance = content["provenance"]
    sections = [
        _front(provenance),
        f"# {name}\n",
        "A Protscribe bundle: a protein encoder and a decoder that writes the answers to the tasks below in one "
        "shared vocabulary.\n",
        f'```python\nimport protscribe as ps\n\nmodel = ps.load("PATH")  # this folder, or its name on the Hub\n'
        f'model.predict("MKT...", task="{next(iter(tasks), "")}")\n```\n',
        "## Tasks\n",
        _table(
            ("task", "answer", "input", "readout", "reference"),
            (_task_row(t, readouts[t.name]) for t in tasks.values()),
        ),
        _trust(content.get("trust") or {}),
        _neighbours(content.get("neighbours") or {}),
        _sampled(provenance.get("sampled") or {}),
        _evaluation(provenance.get("evaluation") or {}),
        "## Vocabulary\n",
        f"{len(vocabulary)} symbols; positions are written as {content['positions']}. "
        f"Fingerprint `{vocabulary.fingerprint}`.\n",
        _table(
            ("block", "symbols"), ((block, _count(vocabulary, block)) for block in vocabulary.block_names)
        ),
        "## Sizes\n",
        _table(("part", "kind", "parameters"), _size_rows(content)),
        "## Limits\n",
        "\n".join(f"- {limit}" for limit in LIMITS) + "\n",
        "## Where it comes from\n",
        _origin(provenance),
    ]
    return "\n".join(section for section in sections if section)


def _front(provenance: Mapping[str, Any]) -> str:
    front: dict[str, Any] = {
        "license": provenance.get("license", "other"),
        "library_name": "protscribe",
        "tags": ["biology", "protein", "protscribe", "multi-task"],
        "datasets": _datasets(provenance),
    }
    encoder = _encoder_name(provenance)
    if encoder.count("/") == 1 and not encoder.startswith((".", "/", "~")):
        front["base_model"] = encoder
    return "---\n" + yaml.safe_dump(front, sort_keys=False, allow_unicode=True) + "---\n"


def _datasets(provenance: Mapping[str, Any]) -> list[str]:
    named = provenance.get("datasets") or provenance.get("sources") or []
    values = named.values() if isinstance(named, Mapping) else named
    return list(dict.fromkeys(str(value) for value in values))


def _encoder_name(provenance: Mapping[str, Any]) -> str:
    encoder = provenance.get("encoder")
    return str(encoder.get("name") or "") if isinstance(encoder, Mapping) else str(encoder or "")


def _task_row(task: Task, readout: Readout) -> tuple[str, ...]:
    chains = "two chains" if task.chains == 2 else "one chain"
    inputs = [
        chains,
        *(["a molecule"] if task.molecule else []),
        *(condition.field for condition in task.conditions),
    ]
    how = {"inclusion": f"threshold {readout.threshold:.3g}", "digits": readout.statistic}.get(
        task.codec.asks, ""
    )
    way = "greedy" if readout.way == "greedy" else f"least risk {how}".strip()
    return task.name, f"{task.title} (`{task.codec.kind}`)", ", ".join(inputs), way, task.reference


def _trust(trust: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """What held-out rows said of the probabilities; nothing where none were asked."""
    if not trust:
        return ""
    text = (
        "Probabilities are calibrated where a map is given (of their logits; 1 / slope is a temperature). With `coverage=` an "
        "answer comes with a set or an interval that holds the truth that often, on average over proteins like the held-out "
        "ones; for other proteins nothing is promised.\n\n"
    )
    rows = ((name, *Trust.from_plain(known).cells()) for name, known in trust.items())
    return f"## Trust\n\n{text}{_table(('task', *CELLS), rows)}"


def _neighbours(voting: Mapping[str, Mapping[str, Any]]) -> str:
    """Whose known proteins vote; nothing where none do."""
    if not voting:
        return ""
    text = (
        "Of these tasks known proteins, or candidate residues of them, vote beside the decoder, weighed by how near their "
        "encoder states are. Their states, answers and, unless left out, ids are in this bundle; their sequences are not.\n\n"
    )
    rows = ((name, *near.cells(plain)) for name, plain in voting.items())
    return f"## Neighbours\n\n{text}{_table(('task', *near.CELLS), rows)}"


def _sampled(sampled: Mapping[str, Mapping[str, int]]) -> str:
    """What the run that wrote the bundle trained on. An entry's different rows are told out of all that it has."""
    if not sampled:
        return ""
    rows = [
        (
            name,
            f"{one['samples']:,}",
            f"{one['rows']:,} of {one['of']:,}",
            f"{one['residues']:,}",
            f"{one['tokens']:,}",
        )
        for name, one in sampled.items()
    ]
    return "## Samples\n\n" + _table(("trained on", "samples", "different rows", "residues", "tokens"), rows)


def _evaluation(evaluation: Mapping[str, Any]) -> str:
    rows = [
        (task, metric, f"{value:.4g}" if isinstance(value, float) else str(value))
        for task, metrics in evaluation.items()
        for metric, value in metrics.items()
    ]
    return "## Evaluation\n\n" + _table(("task", "metric", "value"), rows) if rows else ""


def _count(vocabulary: Vocabulary, block: str) -> int:
    return sum(symbol.block == block for symbol in vocabulary.symbols)


def _size_rows(content: Mapping[str, Any]) -> Iterable[tuple[Any, ...]]:
    for part, count in content["parameters"].items():
        described = content["architecture"][part]
        if described is not None:
            yield part.replace("_", " "), described.get("kind", "transformer"), f"{count:,}"


def _origin(provenance: Mapping[str, Any]) -> str:
    licences = provenance.get("licences") or {}
    encoder = _encoder_name(provenance)
    if encoder:
        known = next(
            (licence for start, licence in LICENCES.items() if encoder.startswith(start)), "not stated"
        )
        licences = {encoder: known, **licences}
    lines = [f"- licence of {what}: {licence}" for what, licence in licences.items()]
    lines += [
        f"- licence of the data of {name}: not stated"
        for name in _datasets(provenance)
        if name not in licences
    ]
    told = ("seed", "steps", "epochs", "command")
    lines += [f"- {key}: `{provenance[key]}`" for key in told if provenance.get(key) is not None]
    versions = provenance.get("versions") or {}
    lines.append("- made with " + ", ".join(f"{package} {version}" for package, version in versions.items()))
    lines.append("- everything else about the run: `manifest.json` (provenance) and `config.yaml`")
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines) + "\n"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
