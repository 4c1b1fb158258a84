"""The baselines by name: which there are, which tasks each can answer, and what it learns from.

All learn from the training rows of the same sources as the model, and choose on their validation rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from protscribe.data.examples import Example
from protscribe.errors import ConfigError, nearest
from protscribe.evaluation.rivals.bias import bias_baseline, has_partners
from protscribe.evaluation.rivals.composition import CompositionFeatures
from protscribe.evaluation.rivals.head import Bundled, answer_from, has_head, head_baseline
from protscribe.evaluation.rivals.linear import Linear
from protscribe.evaluation.rivals.majority import majority
from protscribe.evaluation.rivals.neighbours import can_compare, neighbour_baseline
from protscribe.records import Prediction
from protscribe.task import Task

log = logging.getLogger(__name__)

Baseline = Literal["majority", "composition", "neighbours", "head", "mlp", "bias"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
USUAL: tuple[Baseline, ...] = ("majority", "composition", "head")


@dataclass(frozen=True)
class Fitting:
    """How baselines are fitted.

    ``fitting_limit`` bounds the training and the validation rows of ``composition``, ``head`` and ``mlp`` (``None``: all).
    ``mlp_layers`` and ``mlp_width`` size the network; ``None`` for the width makes it as large as the bundle's decoder.
    """

    fitting_limit: int | None = 2000
    mlp_layers: int = 2
    mlp_width: int | None = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("fitting_limit", "mlp_layers", "mlp_width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError("config.value", f"{name} must be at least 1, got {value}")


@dataclass(frozen=True)
class Learnable:
    """A task with the rows that a baseline may learn from, and those it is asked about."""

    predictor: Bundled
    task: Task
    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]

    @property
    def rows(self) -> tuple[Task, Sequence[Example], Sequence[Example], Sequence[Example]]:
        return self.task, self.train, self.validation, self.test


def chosen_baselines(names: str | Sequence[str]) -> tuple[Baseline, ...]:
    """Names of baselines, in the order of tables; ``"all"`` means every one.

    Raises :class:`ConfigError` ``config.value`` for an unknown name, and ``config.missing`` where ``neighbours`` is asked for
    and nothing is installed that can compare chains.
    """
    wanted = list(BASELINES) if names == "all" else [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in BASELINES:
            raise ConfigError(
                "config.value", f"no baseline {name!r}; {nearest(str(name), [*BASELINES, 'all'])}"
            )
    if "neighbours" in wanted and not can_compare():
        raise ConfigError(
            "config.missing",
            "the baseline neighbours needs MMseqs2 (pip install 'protscribe[homology]') or, for short chains, edit "
            "distances (pip install 'protscribe[neighbours]')",
        )
    return tuple(name for name in BASELINES if name in wanted)


def answers_of(name: Baseline, given: Learnable, fitting: Fitting) -> list[Prediction] | None:
    """The predictions of a baseline for the test rows, or ``None`` where it cannot answer such a task."""
    if not given.train:
        log.warning("task %s: no training rows, so no baseline %s", given.task.name, name)
        return None
    applies, answer = _TABLE[name]
    return answer(given, fitting) if applies(given.task) else None


def _majority(given: Learnable, fitting: Fitting) -> list[Prediction]:
    return majority(given.task, given.train, [example.record for example in given.test])


def _composition(given: Learnable, fitting: Fitting) -> list[Prediction]:
    features = CompositionFeatures(given.task)
    # Letters are few features for many rows: weaker regularisation is tried too.
    models = Linear(strengths=(0.01, 0.1, 1.0, 10.0))
    return answer_from(
        features, models, *given.rows, name="composition", limit=fitting.fitting_limit, seed=fitting.seed
    )


def _neighbours(given: Learnable, fitting: Fitting) -> list[Prediction]:
    return neighbour_baseline(*given.rows, seed=fitting.seed)


def _head(given: Learnable, fitting: Fitting) -> list[Prediction]:
    return head_baseline(given.predictor, *given.rows, limit=fitting.fitting_limit, seed=fitting.seed)


def _mlp(given: Learnable, fitting: Fitting) -> list[Prediction]:
    from protscribe.evaluation.rivals.network_head import Network

    network = Network(layers=fitting.mlp_layers, width=fitting.mlp_width or 1, seed=fitting.seed)
    if fitting.mlp_width is None:
        model: Any = given.predictor.bundle.model
        network = Network.like(model.decoder, fitting.mlp_layers, model.encoder.width, fitting.seed)
    return head_baseline(
        given.predictor,
        *given.rows,
        limit=fitting.fitting_limit,
        seed=fitting.seed,
        models=network,
        name="mlp",
    )


def _bias(given: Learnable, fitting: Fitting) -> list[Prediction]:
    return bias_baseline(*given.rows, seed=fitting.seed)


_TABLE: dict[Baseline, tuple[Callable[[Task], bool], Callable[[Learnable, Fitting], list[Prediction]]]] = {
    "majority": (lambda task: True, _majority),
    "composition": (has_head, _composition),
    "neighbours": (has_head, _neighbours),
    "head": (has_head, _head),
    "mlp": (has_head, _mlp),
    "bias": (has_partners, _bias),
}
