"""The command line: ``protscribe train | predict | evaluate | tasks | inspect``. The only file that knows
Hydra.

Every command is a Python function with a typed result, called with what Hydra composed; here stand
composition, checking, and what is printed. Exit status: 0 all done, 2 usage, configuration or input, 3 done
with rejected records, 75 preempted and resumable, 1 a bug.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import protscribe
from protscribe.errors import ConfigError, ProcessError, ProtscribeError, nearest
from protscribe.processes import has_met, seat
from protscribe.progress import log_on_stderr
from protscribe.usage import (
    command_help,
    find_config_dir,
    full_key,
    is_override,
    left_out,
    options_first,
    overview,
)

DONE, BUG, USAGE, REJECTED, PREEMPTED = 0, 1, 2, 3, 75
AFTER_FIRST = 15.0
"""Seconds that a process which is not the first one leaves that one to say what is wrong."""


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
    except ProcessError as error:
        return error.exit_status
    except ProtscribeError as error:
        _complain(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        print("protscribe: interrupted", file=sys.stderr)
        return PREEMPTED
    except BrokenPipeError:
        # Who read our output has gone (head, less): nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception:
        _complain("this is a bug; please report it with the lines above", traceback.format_exc())
        return BUG


def _complain(message: str, before: str = "") -> None:
    """Says what is wrong, on standard error, and which of several processes says it; ``before`` are lines that lead up to it.

    Before these have met, a mistake is most often made by all of them. So the first one speaks at once, and the others only
    if they are still there a while later: a launcher ends all processes when one has failed.
    """
    mine = seat()
    if mine.rank and not has_met():
        time.sleep(AFTER_FIRST)
    told_by = f"{mine}: " if mine.world > 1 else ""
    print(f"{before}protscribe: {told_by}{message}", file=sys.stderr, flush=True)


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
    if name in ("train", "influence"):
        rest += left_out(rest)
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


NAMED_ENTRIES = ("tasks", "sources")
"""Keys of a training run that become entries of its mixture."""
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
    if name in ("train", "influence"):
        from protscribe.training.run import SUPPLIED, SUPPLIED_TO, train

        settings = {key: value for key, value in settings.items() if key not in NAMED_ENTRIES}
        rest = {key: value for key, value in settings.items() if key != "influence"}
        check_call(train, rest, supplied=SUPPLIED, runtime=SUPPLIED_TO)
        if name == "influence":
            from protscribe.evaluation.influence import SUPPLIED as SUPPLIED_TO_INFLUENCE
            from protscribe.evaluation.influence import measure_influence

            check_call(measure_influence, settings["influence"], supplied=SUPPLIED_TO_INFLUENCE)
            for seed in settings["influence"]["seeds"]:
                check_seed(seed)
    elif name == "pretrain":
        from protscribe.pretraining import run as pretraining

        rest = {key: value for key, value in settings.items() if key not in ("sources", "held_out")}
        check_call(pretraining.pretrain, rest, supplied=pretraining.SUPPLIED, runtime=pretraining.SUPPLIED_TO)
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
    from protscribe.data.datamodule import table_source
    from protscribe.data.files import is_table

    found = {}
    for name, task in named.items():
        if task is not None and is_table(name):
            found[name] = table_source(name, task)
        else:
            found[name] = find_source(name, _variables(config), folder)
    return found


def _with_entries(config: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """The configuration with tasks and sources that were only named as entries of its mixture."""
    from protscribe.catalogue import name_entries

    tasks, sources = (_several(config.get(key)) or [] for key in NAMED_ENTRIES)
    if not tasks and not sources:
        return config
    mixture = config.get("mixture") or {"_target_": "protscribe.data.mixture.Mixture", "entries": {}}
    entries = {**mixture["entries"], **name_entries(tasks, sources, folder)}
    return {**config, "mixture": {**mixture, "entries": entries}}


def _beginning(bundle: str | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """Tasks of the bundle that a run starts from, and the sources it names, each with its task."""
    from protscribe.checkpoint.hub import find_bundle
    from protscribe.checkpoint.lineage import trained_on, trained_tasks
    from protscribe.checkpoint.manifest import read_manifest

    if bundle is None:
        return (), {}
    manifest = read_manifest(find_bundle(bundle))
    named = {entry["source"]: entry["task"] for entry in trained_on(manifest).values()}
    return trained_tasks(manifest), named


def _train(config: dict[str, Any], folder: Path | None) -> int:
    # What torch has to say, line after line of addresses, where a connection to another process breaks.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    keywords = _training(_with_entries(config, folder), folder)
    _hush()
    from protscribe.training.run import train

    result = train(**keywords)
    if seat().rank == 0:
        score = "" if result.best_score is None else f", best validation score {result.best_score:.4f}"
        print(f"trained {result.steps} steps in {result.epochs} epochs and {result.seconds:.0f} s{score}")
        print(f"padding: {result.padding_share:.1%} of what was computed")
        if result.changes is not None:
            print(result.changes.to_text())
        print(f"bundle: {result.bundle}")
    return _rejected(len(result.failures), [failure.detail for failure in result.failures])


def _hush() -> None:
    import logging
    import warnings

    # Lightning's advice about workers and devices is not for who typed this command.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def _training(config: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """The keywords of one training run, everything built anew."""
    from protscribe.catalogue import read_task, task_names

    settings = check("train", config)
    built = {key: value if key in PLAIN else _build(value) for key, value in settings.items()}
    mixture = built["mixture"]
    sources = _find_sources({entry.source: entry.task for entry in mixture.entries.values()}, config, folder)
    brought, before = _beginning(built.get("bundle"))
    for name, task in before.items():
        with suppress(ProtscribeError):  # the run says of what it has no rows
            sources = {**_find_sources({name: task}, config, folder), **sources}
    # A task that a bundle brings along needs no file.
    wanted = [name for name in mixture.tasks if name not in brought or name in task_names(folder)]
    tasks = {name: read_task(name, folder) for name in wanted}
    return {**built, "tasks": tasks, "sources": sources, "config": config}


def _influence(config: dict[str, Any], folder: Path | None) -> int:
    asked = check("influence", config)["influence"]
    base = _with_entries({key: value for key, value in config.items() if key != "influence"}, folder)
    whole = _training(base, folder)
    _hush()
    from protscribe.data.mixture import Mixture
    from protscribe.evaluation.influence import measure_influence
    from protscribe.training.run import train

    def train_one(mixture: Mixture, seed: int, place: Path) -> Path:
        told = dict(base) if mixture == whole["mixture"] else {**base, "mixture": _node(mixture)}
        # Whatever lies in the folder of the command lies in that of the training: checkpoints, logs.
        moved = _moved(told, str(base["folder"]), str(place))
        print(f"training: {place}", flush=True)
        return train(**_training({**moved, "seed": seed}, folder)).bundle

    found = measure_influence(train_one, whole["mixture"], whole["sources"], base["folder"], **asked)
    found.write(base["folder"])
    print(found.to_markdown())
    print(f"report: {base['folder']}")
    return DONE


def _node(mixture: Any) -> dict[str, Any]:
    """A mixture of explicit shares, as a configuration has it."""
    shares = {"entries": mixture.to_plain(), "explicit": mixture.explicit, "epoch_size": mixture.epoch_size}
    return {"_target_": "protscribe.data.mixture.Mixture", **shares}


def _moved(value: Any, before: str, after: str) -> Any:
    """Plain data in which every path of a folder, or in it, lies in another folder."""
    if isinstance(value, Mapping):
        return {key: _moved(part, before, after) for key, part in value.items()}
    if isinstance(value, list):
        return [_moved(part, before, after) for part in value]
    inside = isinstance(value, str) and (value == before or value.startswith(f"{before}/"))
    return after + value.removeprefix(before) if inside else value


def _pretrain(config: dict[str, Any], folder: Path | None) -> int:
    import warnings

    settings = check("pretrain", config)
    warnings.filterwarnings("ignore", module="lightning")
    from protscribe.catalogue import source_names
    from protscribe.pretraining.corpus import split_sequences
    from protscribe.pretraining.run import pretrain

    named, held = settings.pop("sources"), settings.pop("held_out") or source_names(folder)
    learnt = _find_sources(dict.fromkeys(named), config, folder).values()
    tested = _find_sources(dict.fromkeys(held), config, folder).values()
    built = {key: value if key in PLAIN else _build(value) for key, value in settings.items()}
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
    "pretrain": Command("train the embedded encoder on unlabelled sequences", _pretrain),
    "influence": Command("train with and without each task, and tabulate who helps whom", _influence),
    "predict": Command("answer a bundle's tasks about every protein of a file", _predict),
    "evaluate": Command("judge a bundle on held-out rows, beside baselines", _evaluate),
    "tasks": Command("list the tasks that can be trained", _tasks, composed=False),
    "inspect": Command("show a bundle's tasks, vocabulary, networks and provenance", _inspect),
}
