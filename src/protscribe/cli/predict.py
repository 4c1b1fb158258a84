"""``protscribe predict``: a bundle's answers about the proteins of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords, several
from protscribe.cli.command import Command, tell_rejected
from protscribe.cli.composition import build


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.outputs.predict_file`."""
    from protscribe.outputs import predict_file

    settings = as_keywords(config)
    settings |= {key: several(settings.get(key)) for key in ("tasks", "candidates")}
    check_keywords(predict_file, settings)
    return settings


def _predict(config: dict[str, Any], folder: Path | None) -> int:
    settings = check(config)
    from protscribe.outputs import predict_file

    result = predict_file(**settings | {"search": build(settings["search"])})
    print(f"{result.rows} answers about {result.records} records in {result.seconds:.1f} s")
    for path in result.paths:
        print(f"predictions: {path}")
    return tell_rejected(result.rejected, [f"see {result.rejected_path}"])


PREDICT = Command("answer a bundle's tasks about every protein of a file", _predict, check)
