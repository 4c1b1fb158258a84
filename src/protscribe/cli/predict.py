"""``protscribe predict``: a bundle's answers about the proteins of a file, to files or to a folder of shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.cli.checking import as_keywords, check_keywords, several
from protscribe.cli.command import DONE, Command, tell_rejected
from protscribe.cli.composition import build
from protscribe.errors import ConfigError

IN_SHARDS = ("shards", "shard", "engine", "workers", "formats")
"""Keys of :func:`protscribe.bulk.predict_folder` alone."""
DRY = "dry_run"
NOT_ANSWERS = ("output", "on_error", "progress", "compile", *IN_SHARDS)
"""Keys that a dry run has no use for."""


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of :func:`protscribe.outputs.predict_file` and :func:`protscribe.bulk.predict_folder`."""
    from protscribe.bulk.engines import find_engine
    from protscribe.bulk.run import predict_folder
    from protscribe.bulk.seats import count_of
    from protscribe.outputs import predict_file

    settings = as_keywords(config)
    settings |= {key: several(settings.get(key)) for key in ("tasks", "candidates", "formats")}
    check_keywords(predict_file, settings, apart=(DRY, *IN_SHARDS))
    if isinstance(settings["output"], str):
        ours = ("bundle", "input", "output", *(key for key in IN_SHARDS if settings[key] is not None))
        check_keywords(predict_folder, {key: settings[key] for key in ours})
    find_engine(settings["engine"])
    count_of(settings["shard"], settings["shards"])
    return settings


def _predict(config: dict[str, Any], folder: Path | None) -> int:
    settings = check(config)
    settings["search"] = build(settings["search"])
    if settings.pop(DRY):
        from protscribe.bulk import estimate

        print(estimate(**{key: value for key, value in settings.items() if key not in NOT_ANSWERS}))
        return DONE
    if _is_folder(settings["output"]):
        return _predict_folder(settings)
    for key in IN_SHARDS:
        given = settings.pop(key)
        if given and not (key == "engine" and given == "local"):
            message = f"{key}={given} is for answers in shards: give a folder, with '/' at its end, as output"
            raise ConfigError("config.value", message)
    from protscribe.outputs import predict_file

    result = predict_file(**settings)
    print(f"{result.rows} answers about {result.records} records in {result.seconds:.1f} s")
    for path in result.paths:
        print(f"predictions: {path}")
    return tell_rejected(result.rejected, [f"see {result.rejected_path}"])


def _is_folder(output: Any) -> bool:
    return isinstance(output, str) and (output.endswith("/") or Path(output).is_dir())


def _predict_folder(settings: dict[str, Any]) -> int:
    from protscribe.bulk import predict_folder

    on_error, formats = settings.pop("on_error"), settings.pop("formats")
    if on_error != "collect":
        raise ConfigError(
            "config.value", "on_error=raise is for one file; in shards, rejected records are collected"
        )
    result = predict_folder(**settings, formats=formats or ())
    found = f", {result.found} were done before" if result.found else ""
    print(f"{result.answers} answers about {result.records} records in {result.seconds:.1f} s")
    print(f"shards: {result.done} done now{found}, of {result.of} in all")
    if result.done:
        spent = (result.encoder, result.decoder, result.waiting)
        print(
            "time of the workers: encoder {:.0%}, decoder {:.0%}, waiting for records {:.0%}".format(*spent)
        )
    print(f"folder: {result.folder}  (protscribe status, protscribe merge)")
    return tell_rejected(result.rejected, [f"see {result.folder}/shards/*.rejected.csv"])


PREDICT = Command("answer a bundle's tasks about every protein of a file", _predict, check)
