"""The table of metrics: what each is called, which kinds of answer it judges, and the judge that gives its value.

``NAME:ARGUMENT`` is a metric with an argument: ``spearman_by:assay`` is Spearman's correlation within each assay, averaged
over assays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from protscribe.evaluation import answers as pairs_of
from protscribe.evaluation.answers import Answers, Tally
from protscribe.evaluation.measures import correlation, judging, label_sets, overlap, ranking
from protscribe.evaluation.measures.judging import Judge, PairScore

CLASS = ("category",)
SETS = ("category_set", "category_path")
NUMBER = ("number",)
LABELS = ("residue_labels",)
SITES = ("residue_set",)
SEGMENTS = ("segments",)
PAIRS = ("residue_pairs",)


@dataclass(frozen=True)
class Metric:
    """One metric: what to call it in a table, the kinds of answer it judges, its best value and whether higher is better.

    ``ranked`` says that it looks at probabilities and not at the answer itself, so that no threshold moves it.
    """

    title: str
    kinds: tuple[str, ...]
    prepare: Callable[[Answers], Judge]
    higher: bool = True
    ranked: bool = False
    in_unit: bool = False

    @property
    def best(self) -> float:
        return 1.0 if self.higher else 0.0


def _pairs(
    title: str, kinds: tuple[str, ...], tally: Callable[[Answers], list[Tally]], score: PairScore
) -> Metric:
    return Metric(title, kinds, lambda answers: judging.judge_pairs(tally(answers), score))


def _of(
    title: str, kinds: tuple[str, ...], judge: Callable[..., Judge], *extra: Any, ranked: bool = False
) -> Metric:
    return Metric(title, kinds, lambda answers: judge(answers, *extra), ranked=ranked)


METRICS_OF_CLASSES = {
    "accuracy": _pairs("accuracy", CLASS, pairs_of.classes, judging.accuracy),
    "macro_f1": _pairs("macro F1", CLASS, pairs_of.classes, judging.macro_f1),
    "mcc": _pairs("Matthews correlation", CLASS, pairs_of.classes, judging.matthews),
    "balanced_accuracy": _pairs("balanced accuracy", CLASS, pairs_of.classes, judging.balanced),
    "auroc": _of("area under ROC", CLASS, ranking.judge_classes, ranking.roc_area, ranked=True),
    "average_precision": _of(
        "average precision", CLASS, ranking.judge_classes, ranking.average_precision, ranked=True
    ),
}

METRICS_OF_SETS = {
    "micro_f1": _of("micro F1", SETS, label_sets.judge_sets, label_sets.micro_f1),
    "macro_f1_labels": _of("macro F1 over labels", SETS, label_sets.judge_sets, label_sets.macro_f1),
    "jaccard": _of("mean Jaccard index", SETS, label_sets.judge_sets, label_sets.jaccard),
    "fmax": _of("Fmax (CAFA)", SETS, label_sets.judge_fmax, ranked=True),
    "micro_average_precision": _of(
        "average precision, micro",
        SETS,
        ranking.judge_labels,
        ranking.average_precision,
        "micro",
        ranked=True,
    ),
    "macro_average_precision": _of(
        "average precision, mean over labels",
        SETS,
        ranking.judge_labels,
        ranking.average_precision,
        "macro",
        ranked=True,
    ),
    **{
        f"level_accuracy:{depth}": _of(
            f"right down to level {depth}", ("category_path",), label_sets.judge_level, depth
        )
        for depth in (1, 2, 3, 4)
    },
    "exact_match": _of(
        "whole answer right", (*SETS, *SITES, *SEGMENTS, *PAIRS, "sequence"), judging.judge_exact
    ),
}

ERRORS = {"rmse", "mae"}
NUMBER_SCORES = {
    "spearman": ("Spearman correlation", correlation.spearman),
    "pearson": ("Pearson correlation", correlation.pearson),
    "rmse": ("root mean squared error", correlation.root_mean_square),
    "mae": ("mean absolute error", correlation.mean_error),
}


def _number(name: str, title: str, prepare: Callable[[Answers], Judge]) -> Metric:
    is_error = name in ERRORS
    return Metric(title, NUMBER, prepare, higher=not is_error, in_unit=is_error)


METRICS_OF_NUMBERS = {
    name: _number(name, title, partial(correlation.judge_numbers, score=score))
    for name, (title, score) in NUMBER_SCORES.items()
}

METRICS_OF_RESIDUES = {
    "q_accuracy": _pairs("accuracy per residue", LABELS, pairs_of.residues, judging.accuracy),
    "residue_macro_f1": _pairs("macro F1 per residue", LABELS, pairs_of.residues, judging.macro_f1),
    "residue_mcc": _pairs("Matthews correlation", LABELS, pairs_of.residues, judging.matthews),
    "segment_overlap": _of("segment overlap (SOV 1999)", (*LABELS, *SEGMENTS), overlap.judge_overlap),
    "segment_accuracy": _pairs("accuracy per residue", SEGMENTS, pairs_of.segment_residues, judging.accuracy),
    "segment_macro_f1": _pairs("macro F1 per residue", SEGMENTS, pairs_of.segment_residues, judging.macro_f1),
    "segment_mcc": _pairs("Matthews correlation", SEGMENTS, pairs_of.segment_residues, judging.matthews),
    "boundary_accuracy": _pairs(
        "boundaries right, of all true or predicted", SEGMENTS, pairs_of.boundaries, judging.member_jaccard
    ),
    **{
        f"boundaries_within:{most}": _pairs(
            f"F1 of boundaries within {most}",
            SEGMENTS,
            partial(pairs_of.near_boundaries, tolerance=most),
            judging.member_f1,
        )
        for most in (0, 1, 3)
    },
}

METRICS_OF_SITES = {
    "site_f1": _pairs("F1 of sites", SITES, pairs_of.sites, judging.member_f1),
    "site_precision": _pairs("precision of sites", SITES, pairs_of.sites, judging.member_precision),
    "site_recall": _pairs("recall of sites", SITES, pairs_of.sites, judging.member_recall),
    "site_mcc": _pairs("Matthews correlation", SITES, pairs_of.sites, judging.matthews),
    "site_average_precision": _of(
        "average precision", SITES, ranking.judge_sites, ranking.average_precision, ranked=True
    ),
    "site_auroc": _of("area under ROC", SITES, ranking.judge_sites, ranking.roc_area, ranked=True),
    "protein_average_precision": _of(
        "average precision, mean over proteins",
        SITES,
        ranking.judge_sites_apart,
        ranking.average_precision,
        ranked=True,
    ),
    "protein_auroc": _of(
        "area under ROC, mean over proteins", SITES, ranking.judge_sites_apart, ranking.roc_area, ranked=True
    ),
    **{
        f"sites_within:{most}": _pairs(
            f"F1 of sites within {most}",
            SITES,
            partial(pairs_of.near_sites, tolerance=most),
            judging.member_f1,
        )
        for most in (1, 3)
    },
    "pair_f1": _pairs("F1 of residue pairs", PAIRS, pairs_of.residue_pairs, judging.member_f1),
    "pair_precision": _pairs(
        "precision of residue pairs", PAIRS, pairs_of.residue_pairs, judging.member_precision
    ),
    "pair_recall": _pairs("recall of residue pairs", PAIRS, pairs_of.residue_pairs, judging.member_recall),
    "token_accuracy": _pairs("accuracy per token", ("sequence",), pairs_of.tokens, judging.accuracy),
}

BY = "_by"
"""The end of the name of a metric of numbers that is taken within groups: ``spearman_by:FIELD``."""


class Metrics(dict[str, Metric]):
    """Metrics by name. Those that take a field, ``spearman_by:FIELD``, are made when they are asked for."""

    def __missing__(self, name: str) -> Metric:
        family, _, field = name.partition(":")
        within = family.removesuffix(BY)
        if not field or within == family or within not in NUMBER_SCORES:
            raise KeyError(name)
        title, score = NUMBER_SCORES[within]
        prepare = partial(correlation.judge_groups, field=field, score=score)
        return _number(within, f"{title}, mean over {field}", prepare)

    def fitting(self, kind: str) -> list[str]:
        """The names of the metrics for a kind of answer, but for those that take a field."""
        return [name for name, metric in self.items() if kind in metric.kinds]


METRICS = Metrics(
    METRICS_OF_CLASSES | METRICS_OF_SETS | METRICS_OF_NUMBERS | METRICS_OF_RESIDUES | METRICS_OF_SITES
)

DEFAULTS: dict[str, tuple[str, ...]] = {
    "category": ("macro_f1", "accuracy", "mcc", "balanced_accuracy", "auroc", "average_precision"),
    "category_set": (
        *("micro_f1", "macro_f1_labels", "jaccard", "exact_match", "fmax"),
        *("micro_average_precision", "macro_average_precision"),
    ),
    "category_path": (
        *("micro_f1", "macro_f1_labels", "jaccard", "exact_match", "fmax"),
        *("level_accuracy:1", "level_accuracy:2", "level_accuracy:3", "level_accuracy:4"),
        *("micro_average_precision", "macro_average_precision"),
    ),
    "number": ("spearman", "pearson", "rmse", "mae"),
    "residue_labels": ("residue_macro_f1", "q_accuracy", "segment_overlap", "residue_mcc"),
    "residue_set": (
        *("site_f1", "site_precision", "site_recall", "site_mcc", "site_average_precision", "site_auroc"),
        *("protein_average_precision", "protein_auroc"),
    ),
    "segments": (
        *("segment_accuracy", "segment_macro_f1", "segment_overlap", "segment_mcc", "boundary_accuracy"),
        *("boundaries_within:0", "boundaries_within:1", "boundaries_within:3", "exact_match"),
    ),
    "residue_pairs": ("pair_f1", "pair_precision", "pair_recall"),
    "sequence": ("token_accuracy", "exact_match"),
}
"""The metrics of a task that names none, by kind of answer; the first is the main one."""
