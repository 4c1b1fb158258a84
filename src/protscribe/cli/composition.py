"""Hydra: composing a command's configuration, building what it names, and errors of Hydra's as ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protscribe.cli.command import DONE, USAGE, Command
from protscribe.errors import ConfigError, ProtscribeError, nearest
from protscribe.processes import seat
from protscribe.usage import is_override, options_first


def compose_and_run(name: str, command: Command, arguments: list[str], folder: Path | None) -> int:
    """Lets Hydra compose ``NAME.yaml`` with the overrides and calls the command, once or, with -m, for each
    job."""
    import hydra
    from omegaconf import DictConfig

    from protscribe.catalogue import configs_folder

    if seat().rank:
        # What was composed is written once.
        arguments = [*arguments, "hydra.output_subdir=null"]
    program, here = sys.argv[0], os.getpid()
    statuses: list[int] = []
    failed: list[BaseException] = []

    def job(composed: DictConfig) -> None:
        if os.getpid() != here:
            # A job that a launcher of Hydra's has taken elsewhere, and that brings an error back.
            command.run(_plain(composed), folder)
        # What goes wrong inside is kept from Hydra, which would add lines of its own; later jobs of a sweep do not start.
        elif not failed:
            # Lightning starts further processes with this command line.
            sys.argv = [program, name, *_own_arguments(arguments, composed)]
            try:
                statuses.append(command.run(_plain(composed), folder))
            except BaseException as error:
                failed.append(error)

    run = hydra.main(config_path=str(configs_folder()), config_name=name, version_base="1.3")(job)
    with _as_program(f"protscribe {name}", options_first(arguments)):
        try:
            run()
        except SystemExit as exit:
            return USAGE if exit.code else DONE
        except ProtscribeError:
            raise
        except Exception as error:
            raise _as_config_error(error) from error
    if failed:
        raise failed[0]
    return max(statuses, default=DONE)


def build(value: Any) -> Any:
    """Plain data with every node that names a constructor replaced by what it makes, or by the factory where
    partial."""
    from hydra.utils import instantiate

    if isinstance(value, Mapping):
        if "_target_" not in value:
            return {key: build(part) for key, part in value.items()}
        try:
            return instantiate(dict(value), _convert_="all")
        except Exception as error:
            if isinstance(error.__cause__, ProtscribeError):
                raise error.__cause__ from None
            raise ConfigError("config.value", f"{value['_target_']}: {error.__cause__ or error}") from error
    return [build(part) for part in value] if isinstance(value, list) else value


def _own_arguments(arguments: Sequence[str], composed: Any) -> list[str]:
    """The arguments that run this job alone: those of the command, but of a sweep only what belongs to this job."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return list(arguments)
    options = [one for one in arguments if not is_override(one) and one not in ("-m", "--multirun")]
    quoted = str(composed["folder"]).replace("'", "\\'")
    return [*options, *hydra.overrides.task, f"folder='{quoted}'"]


@contextmanager
def _as_program(name: str, arguments: list[str]) -> Iterator[None]:
    """Hydra reads ``sys.argv``, and hands errors on untouched only where this variable is set."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [name, *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = before
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def _plain(composed: Any) -> dict[str, Any]:
    """The composed configuration as plain data, every interpolation resolved and nothing missing."""
    from omegaconf import OmegaConf

    try:
        if "folder" in composed:
            # Seen from here, so that what is stored with a run says nothing about the machine.
            composed["folder"] = os.path.relpath(composed["folder"])
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except Exception as error:
        raise _as_config_error(error) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _as_config_error(error: BaseException) -> ConfigError:
    """What Hydra, OmegaConf or PyYAML had against a configuration, as one of our errors."""
    from hydra.errors import HydraException
    from omegaconf import errors as omega

    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    for found in chain:
        if (known := _known_problem(found)) is not None:
            return known
    for found in chain:
        if isinstance(found, omega.OmegaConfBaseException):
            return ConfigError("config.type", f"{_key(found)}{str(found).splitlines()[0]}")
    text = str(error).strip().replace("\n", " ")
    if isinstance(error, HydraException | OSError | ValueError):
        return ConfigError("config.override", text)
    raise error


def _known_problem(found: BaseException) -> ConfigError | None:
    """One error of Hydra, OmegaConf or PyYAML of a kind that can be told better than it tells itself."""
    import yaml
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf import errors as omega

    text = str(found).splitlines()[0] if str(found) else type(found).__name__
    if isinstance(found, ConfigError):
        return found
    if isinstance(found, omega.MissingMandatoryValue):
        return ConfigError(
            "config.missing", f"the key {found.full_key!r} needs a value: give {found.full_key}=..."
        )
    if isinstance(found, (omega.InterpolationResolutionError, omega.GrammarParseError)):
        return ConfigError("config.interpolation", f"{_key(found)}{text}")
    if isinstance(found, omega.ConfigKeyError | omega.ConfigAttributeError):
        known = [str(key) for key in (found.parent_node or {})] if found.parent_node is not None else []
        key = str(found.full_key or found.key)
        return ConfigError("config.unknown_key", f"there is no key {key!r}; {nearest(str(found.key), known)}")
    if isinstance(found, MissingConfigException):
        wanted = str(found.missing_cfg_file or "").removeprefix("/").replace(".yaml", "")
        group, _, option = wanted.rpartition("/")
        said = f"there is no {group or 'configuration'} {option!r}; {nearest(option, found.options or ())}"
        return ConfigError("config.unknown_key", said)
    if isinstance(found, OverrideParseException):
        said = f"{found.override!r} is not KEY=VALUE as Hydra reads it (quote special characters): {text}"
        return ConfigError("config.override", said)
    if text.startswith("Config group override") and text.endswith("NoneType"):
        return ConfigError(
            "config.override",
            "a group of settings is left out with ~GROUP (such as ~state_cache), not with GROUP=null",
        )
    if isinstance(found, yaml.YAMLError):
        return ConfigError(*_yaml_problem(found))
    if isinstance(found, RecursionError):
        return ConfigError(
            "config.interpolation",
            "the configuration's interpolations go in a circle, or it nests too deeply",
        )
    return None


def _key(error: Any) -> str:
    key = getattr(error, "full_key", None)
    return f"{key}: " if key else ""


def _yaml_problem(error: Any) -> tuple[str, str]:
    text = str(getattr(error, "problem", None) or error)
    mark = getattr(error, "problem_mark", None)
    place = f" ({mark.name}, line {mark.line + 1})" if mark is not None else ""
    if "duplicate key" in text:
        return "config.duplicate_key", f"{text}{place}"
    if "could not determine a constructor" in text:
        return "config.forbidden", f"a tag that would build an object is not allowed: {text}{place}"
    return "config.syntax", f"this is not YAML: {text}{place}"
