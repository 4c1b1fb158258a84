"""The command line: ``protscribe train | predict | evaluate | tasks | inspect``. The only file that knows
Hydra.

Every command is a Python function with a typed result, called with what Hydra composed; here stand
composition, checking, and what is printed. Exit status: 0 all done, 2 usage, configuration or input, 3 done
with rejected records, 75 preempted and resumable, 1 a bug.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import protscribe
from protscribe.errors import ConfigError, ProtscribeError, nearest
from protscribe.progress import log_on_stderr
from protscribe.usage import command_help, find_config_dir, full_key, options_first, overview

DONE, BUG, USAGE, REJECTED, PREEMPTED = 0, 1, 2, 3, 75


@dataclass(frozen=True)
class Command:
    """One sub-command: what it does in a line, and the function that runs it and gives an exit status."""

    summary: str
    run: Callable[[dict[str, Any], Path | None], int]
    composed: bool = True


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status. Never raises but for what a terminal asks for
    (``SystemExit``)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with log_on_stderr():
            return _dispatch(arguments)
    except ProtscribeError as error:
        print(f"protscribe: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("protscribe: interrupted", file=sys.stderr)
        return PREEMPTED
    except BrokenPipeError:
        # Who read our output has gone (head, less): nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception:
        traceback.print_exc()
        print("protscribe: this is a bug; please report it with the lines above", file=sys.stderr)
        return BUG


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview({name: command.summary for name, command in COMMANDS.items()}), end="")
        return DONE if arguments else USAGE
    if arguments[0] in ("-V", "--version"):
        print(f"protscribe {protscribe.__version__}")
        return DONE
    name, rest = arguments[0], [full_key(argument) for argument in arguments[1:]]
    if name not in COMMANDS:
        raise ConfigError("usage.command", f"there is no command {name!r}; {nearest(name, COMMANDS)}")
    command = COMMANDS[name]
    folder = find_config_dir(rest)
    if any(argument in ("-h", "--help") for argument in rest):
        print(command_help(name, command.summary, folder, composed=command.composed), end="")
        return DONE
    if not command.composed:
        return command.run({}, folder)
    return _compose_and_run(name, command, rest, folder)


# Hydra


def _compose_and_run(name: str, command: Command, arguments: list[str], folder: Path | None) -> int:
    """Lets Hydra compose ``NAME.yaml`` with the overrides and calls the command, once or, with -m, for each
    job."""
    import hydra
    from omegaconf import DictConfig

    from protscribe.catalogue import configs_folder

    program = sys.argv[0]
    statuses: list[int] = []
    failed: list[BaseException] = []

    def job(composed: DictConfig) -> None:
        # What goes wrong inside is kept from Hydra, which would add lines of its own; later jobs of a sweep do not start.
        if not failed:
            # Lightning starts further processes with this command line.
            sys.argv = [program, name, *arguments]
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
        except Exception as error:
            raise _as_config_error(error) from error
    if failed:
        raise failed[0]
    return max(statuses, default=DONE)


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
    import yaml
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf import errors as omega

    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    for found in chain:
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
            return ConfigError(
                "config.unknown_key", f"there is no key {key!r}; {nearest(str(found.key), known)}"
            )
        if isinstance(found, MissingConfigException):
            wanted = str(found.missing_cfg_file or "").removeprefix("/").replace(".yaml", "")
            group, _, option = wanted.rpartition("/")
            said = (
                f"there is no {group or 'configuration'} {option!r}; {nearest(option, found.options or ())}"
            )
            return ConfigError("config.unknown_key", said)
        if isinstance(found, OverrideParseException):
            said = f"{found.override!r} is not KEY=VALUE as Hydra reads it (quote special characters): {text}"
            return ConfigError("config.override", said)
        if isinstance(found, yaml.YAMLError):
            return ConfigError(*_yaml_problem(found))
        if isinstance(found, RecursionError):
            return ConfigError(
                "config.interpolation",
                "the configuration's interpolations go in a circle, or it nests too deeply",
            )
    for found in chain:
        if isinstance(found, omega.OmegaConfBaseException):
            return ConfigError("config.type", f"{_key(found)}{str(found).splitlines()[0]}")
    text = str(error).strip().replace("\n", " ")
    if isinstance(error, HydraException | OSError | ValueError):
        return ConfigError("config.override", text)
    raise error


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


# Commands


FOLDERS_ONLY = ("name", "paths")
"""Top-level keys from which folders are built, and nothing else."""
PLAIN = ("encoder", "molecule_encoder", "adaptation")
"""Nodes that are data to the function that is called, which has closed tables of kinds of its own."""
RENAMED = {"evaluate": {"bundle": "bundle_path"}, "inspect": {"bundle": "name"}}
"""Keys that have another name in a function than in a configuration, by command."""


def check(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords with which a command's function is called, for a composed configuration.

    Raises one :class:`ConfigError` with everything that is wrong, before anything is built or read.
    """
    from protscribe.configuration import check_call, check_node, check_seed

    names = RENAMED.get(name, {})
    settings = {names.get(key, key): value for key, value in config.items() if key not in FOLDERS_ONLY}
    if name == "train":
        from protscribe.training.run import SUPPLIED, SUPPLIED_TO, train

        check_call(train, settings, supplied=SUPPLIED, runtime=SUPPLIED_TO)
    elif name == "predict":
        from protscribe.outputs import predict_file

        settings["tasks"] = _several(settings.get("tasks"))
        settings["candidates"] = _several(settings.get("candidates"))
        check_call(predict_file, settings)
    elif name == "evaluate":
        from protscribe.evaluation.run import evaluate

        rest = {key: value for key, value in settings.items() if key not in ("sources", "mixture")}
        check_call(evaluate, rest, supplied=("sources", "root"))
        for problem in check_node(settings.get("mixture"), "mixture"):
            raise ConfigError(*problem)
    elif name == "inspect":
        from protscribe.inspection import describe_bundle

        check_call(describe_bundle, settings)
    if "seed" in settings:
        check_seed(settings["seed"])
    return settings


def _several(value: Any) -> Any:
    """``tasks=capsid`` means ``tasks=[capsid]``."""
    return [value] if isinstance(value, str) else value


def _build(value: Any) -> Any:
    """Plain data with every node that names a constructor replaced by what it makes, or by the factory where
    partial."""
    from hydra.utils import instantiate

    if isinstance(value, Mapping):
        if "_target_" not in value:
            return {key: _build(part) for key, part in value.items()}
        try:
            return instantiate(dict(value), _convert_="all")
        except Exception as error:
            if isinstance(error.__cause__, ProtscribeError):
                raise error.__cause__ from None
            raise ConfigError("config.value", f"{value['_target_']}: {error.__cause__ or error}") from error
    return [_build(part) for part in value] if isinstance(value, list) else value


def _variables(config: Mapping[str, Any]) -> dict[str, str]:
    """What stands for ``${...}`` in the files of sources: folders, and the environment's variables of this
    project."""
    paths = {f"paths.{name}": str(folder) for name, folder in (config.get("paths") or {}).items()}
    ours = {name: value for name, value in os.environ.items() if name.startswith("PROTSCRIBE_")}
    return paths | {f"oc.env:{name}": value for name, value in ours.items()}


def _find_sources(
    named: Mapping[str, str | None], config: Mapping[str, Any], folder: Path | None
) -> dict[str, Any]:
    """Sources by name, from the catalogue or, where the name is a table's, from the table itself; ``named``
    gives tasks."""
    from protscribe.catalogue import find_source
    from protscribe.data.datamodule import is_table, table_source

    found = {}
    for name, task in named.items():
        if task is not None and is_table(name):
            found[name] = table_source(name, task)
        else:
            found[name] = find_source(name, _variables(config), folder)
    return found


def _train(config: dict[str, Any], folder: Path | None) -> int:
    import logging
    import warnings

    settings = check("train", config)
    # Lightning's advice about workers and devices is not for who typed this command.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    from protscribe.catalogue import read_task
    from protscribe.training.run import train

    built = {key: value if key in PLAIN else _build(value) for key, value in settings.items()}
    mixture = built["mixture"]
    sources = _find_sources({entry.source: entry.task for entry in mixture.entries.values()}, config, folder)
    tasks = {name: read_task(name, folder) for name in mixture.tasks}
    result = train(**built, tasks=tasks, sources=sources, config=config)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        score = "" if result.best_score is None else f", best validation score {result.best_score:.4f}"
        print(f"trained {result.steps} steps in {result.epochs} epochs and {result.seconds:.0f} s{score}")
        print(f"padding: {result.padding_share:.1%} of what was computed")
        print(f"bundle: {result.bundle}")
    return _rejected(len(result.failures), [failure.detail for failure in result.failures])


def _predict(config: dict[str, Any], folder: Path | None) -> int:
    settings = check("predict", config)
    from protscribe.outputs import predict_file

    result = predict_file(**settings | {"search": _build(settings["search"])})
    print(f"{result.rows} answers about {result.records} records in {result.seconds:.1f} s")
    for path in result.paths:
        print(f"predictions: {path}")
    return _rejected(result.rejected, [f"see {result.rejected_path}"])


def _evaluate(config: dict[str, Any], folder: Path | None) -> int:
    settings = check("evaluate", config)
    from protscribe.evaluation.run import evaluate

    named: dict[str, str | None] = dict.fromkeys(_several(settings.pop("sources")) or ())
    if (mixture := _build(settings.pop("mixture", None))) is not None:
        named |= {entry.source: entry.task for entry in mixture.entries.values()}
    if not named:
        raise ConfigError(
            "config.missing", "say what to evaluate on: source=NAME, source=[A,B] or mixture=NAME"
        )
    result = evaluate(sources=list(_find_sources(named, config, folder).values()), **settings)
    print(result.to_text())
    if settings.get("output"):
        print(f"report: {settings['output']}")
    details = [failure.detail for task in result.tasks for failure in task.rejected]
    return _rejected(len(details), details)


def _inspect(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.inspection import describe_bundle, show

    show(describe_bundle(**check("inspect", config)))
    return DONE


def _tasks(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.catalogue import all_tasks
    from protscribe.inspection import describe_tasks, show

    show(describe_tasks(all_tasks(folder).values()))
    return DONE


def _rejected(count: int, details: Sequence[str]) -> int:
    """Says how many records were rejected and why, the first few one by one."""
    if not count:
        return DONE
    print(f"protscribe: {count} records were rejected", file=sys.stderr)
    for detail in details[:10]:
        print(f"  {detail}", file=sys.stderr)
    return REJECTED


COMMANDS: dict[str, Command] = {
    "train": Command("train one model on a mixture of tasks and write its bundle", _train),
    "predict": Command("answer a bundle's tasks about every protein of a file", _predict),
    "evaluate": Command("judge a bundle on held-out rows, beside baselines", _evaluate),
    "tasks": Command("list the tasks that can be trained", _tasks, composed=False),
    "inspect": Command("show a bundle's tasks, vocabulary, networks and provenance", _inspect),
}
