"""A cascade: a small model answers, and a larger one the proteins that the small one is unsure of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from protscribe.data.readers import records_from
from protscribe.data.reading import OnError, ReadOptions
from protscribe.errors import ConfigError, nearest
from protscribe.predictions import PredictionSet
from protscribe.predictor import Predictor
from protscribe.records import Failure, Prediction, ProteinRecord

ESCALATED = "escalated"
"""In a prediction's status: the larger model gave it."""


class Cascade:
    """Answers as a :class:`~protscribe.predictor.Predictor` does, for the tasks that both models have.

    ``small`` answers everything; what it answers with a score below ``threshold`` (one for all tasks, or by task: tasks that it
    does not name are never escalated) is asked of ``large`` as well, whose answer then counts, with ``"escalated"`` in its
    status. Calibrated scores are worth it: :func:`protscribe.evaluation.confidence.selection.cascade_curve` gives the cost and
    the quality of every threshold on validation rows. Raises :class:`~protscribe.errors.ConfigError` ``config.value`` for a
    threshold outside of 0..1, for a task that only one has, and where they have none in common.
    """

    def __init__(self, small: Predictor, large: Predictor, threshold: float | Mapping[str, float]) -> None:
        self.small, self.large = small, large
        self.tasks = {name: task for name, task in small.tasks.items() if name in large.tasks}
        if not self.tasks:
            raise ConfigError("config.value", "the two models of a cascade have no task in common")
        given = threshold if isinstance(threshold, Mapping) else dict.fromkeys(self.tasks, threshold)
        for name, value in given.items():
            if name not in self.tasks:
                raise ConfigError(
                    "config.value", f"no task {name!r} that both models have; {nearest(name, self.tasks)}"
                )
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ConfigError("config.value", f"a threshold is a score, 0 to 1, got {value!r}")
        self.thresholds: Mapping[str, float] = dict(given)

    def predict(self, protein: Any, task: str, **how: Any) -> Prediction:
        """One answer about one protein; ``how`` as :meth:`Predictor.predict` has it."""
        self._known([task])
        found = self.small.predict(protein, task, **how)
        return self._of_large(self.large.predict(protein, task, **how)) if self._unsure(found) else found

    def predict_many(
        self,
        inputs: Any,
        tasks: Sequence[str] | str | None = None,
        *,
        on_error: OnError = "collect",
        columns: Mapping[str, str] | None = None,
        options: ReadOptions | None = None,
        **how: Any,
    ) -> PredictionSet:
        """Answers about many proteins, in the order that :meth:`Predictor.predict_many` gives; ``how`` as
        :meth:`Predictor.stream` has it. What the larger model cannot answer keeps the small one's answer."""
        reading = records_from(inputs, columns=columns, on_error=on_error, options=options or ReadOptions())
        items = list(reading.outcomes())
        found = list(self.stream(items, tasks, on_error=on_error, **how))
        failures = [one for one in found if isinstance(one, Failure)]
        counts = {name: count for name, count in reading.counts.items() if name != "failures"}
        return PredictionSet([one for one in found if isinstance(one, Prediction)], failures, counts)

    def stream(
        self,
        records: Iterable[ProteinRecord | Failure],
        tasks: Sequence[str] | str | None = None,
        **how: Any,
    ) -> Iterator[Prediction | Failure]:
        """Answers in input order; all records are held, for the second round."""
        items = list(records)
        names = [tasks] if isinstance(tasks, str) else list(self.tasks if tasks is None else tasks)
        self._known(names)
        asked = names if tasks is not None else self._askable(items, names)
        answers = list(self.small.stream(items, asked, **how))
        unsure: dict[str, list[int]] = {}
        for place, found in enumerate(answers):
            if isinstance(found, Prediction) and self._unsure(found):
                unsure.setdefault(found.task, []).append(place)
        # A prediction's record may have been cut for the small model, so that the record as it came in is asked.
        whole = {item.ordinal: item for item in items if isinstance(item, ProteinRecord)}
        for task, places in unsure.items():
            again = [whole[_prediction(answers[place]).record.ordinal] for place in places]
            for place, found in zip(places, self.large.stream(again, [task], **how), strict=True):
                if isinstance(found, Prediction):
                    answers[place] = self._of_large(found)
        yield from answers

    def _askable(
        self, items: Sequence[ProteinRecord | Failure], names: Sequence[str]
    ) -> Sequence[str] | None:
        """All tasks of the small model may be asked by fit only where it has none beside those of both."""
        if len(names) == len(self.small.tasks):
            return None
        raise ConfigError(
            "config.missing",
            f"the small model has tasks that the large one lacks: name those that are wanted, of {', '.join(names)}",
        )

    def _known(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.tasks:
                raise ConfigError(
                    "config.value", f"no task {name!r} that both models have; {nearest(name, self.tasks)}"
                )

    def _unsure(self, found: Prediction) -> bool:
        return found.score < self.thresholds.get(found.task, 0.0)

    def _of_large(self, found: Prediction) -> Prediction:
        return replace(found, status=ESCALATED if found.status == "ok" else f"{found.status};{ESCALATED}")


def _prediction(found: Prediction | Failure) -> Prediction:
    assert isinstance(found, Prediction)
    return found
