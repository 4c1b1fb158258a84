"""``protscribe pretrain``: the embedded encoder on unlabelled sequences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords
from protscribe.cli.command import DONE, Command
from protscribe.cli.composition import build
from protscribe.cli.sources import find_sources
from protscribe.cli.train import PLAIN


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.pretraining.run.pretrain`, but for those that a run supplies."""
    from protscribe.pretraining.run import SUPPLIED, SUPPLIED_TO, pretrain

    settings, apart = as_keywords(config), ("sources", "held_out")
    check_keywords(pretrain, settings, apart=apart, supplied=SUPPLIED, runtime=SUPPLIED_TO)
    return settings


def _pretrain(config: dict[str, Any], folder: Path | None) -> int:
    import warnings

    settings = check(config)
    warnings.filterwarnings("ignore", module="lightning")
    from protscribe.catalogue import source_names
    from protscribe.pretraining.corpus import split_sequences
    from protscribe.pretraining.run import pretrain

    named, held = settings.pop("sources"), settings.pop("held_out") or source_names(folder)
    learnt = find_sources(dict.fromkeys(named), config, folder).values()
    tested = find_sources(dict.fromkeys(held), config, folder).values()
    built = {key: value if key in PLAIN else build(value) for key, value in settings.items()}
    result = pretrain(
        **built,
        held_out=set(split_sequences(tested, "test")),
        more=[one for split in ("train", "validation") for one in split_sequences(learnt, split)],
    )
    print(f"trained {result.steps} steps on {result.residues} residues")
    for name, value in result.metrics.items():
        print(f"{name}: {value:.3f}")
    print(
        f"perplexity of counting: {result.unigram:.2f} (unigram), {result.neighbours:.2f} (both neighbours)"
    )
    print(f"weights: {result.weights}")
    return DONE


PRETRAIN = Command("train the embedded encoder on unlabelled sequences", _pretrain, check)
