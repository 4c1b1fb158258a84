"""What the command line says about itself, and the options that are read before configuration begins. No
Hydra here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from protscribe.errors import ConfigError

_SUMMARY = """\
Protscribe: one model that writes the answers to many protein tasks in one shared vocabulary.

usage: protscribe COMMAND [KEY=VALUE ...] [OPTION ...]

commands:
{commands}
examples:
  protscribe tasks
  protscribe train experiment=demo
  protscribe train bundle=runs/demo/bundle +task=secondary_structure_3 +source=mine.csv grow=symbols
  protscribe predict bundle=runs/demo/bundle input=my.fasta tasks=[solubility] output=answers.csv
  protscribe predict bundle=runs/demo/bundle input=proteome.fasta.gz output=answers/ shards=64
  protscribe merge answers/ output=all.parquet
  protscribe evaluate bundle=runs/demo/bundle source=solubility
  protscribe report runs/demo
  protscribe explain bundle=runs/demo/bundle input=my.fasta tasks=solubility output=looked
  protscribe inspect bundle=runs/demo/bundle
  protscribe serve bundle=mini-multitask

options:
  COMMAND --help     what the command does, and every key it takes
  --version          the version
  -m, --multirun     run once for each of several values: -m seed=1,2,3
  --cfg job          show the composed configuration, run nothing
  --config-dir DIR   a folder of your own tasks, sources, mixtures and experiments, beside those that ship

exit status: 0 all done, 2 usage, configuration or input, 3 done but some records were rejected,
75 preempted and resumable, 1 a bug in Protscribe
"""

ALIASES = {"source": "sources", "+source": "sources", "task": "tasks", "+task": "tasks"}
"""What people type, and the key it means: to Hydra ``source`` and ``task`` are groups of files, which take one name and
no list, and no path of a table."""


TEXTS = ("prefix",)
"""Keys whose value is a text whatever it looks like: 3.10 is no number there."""


OPTIONS = {"--dry-run": "dry_run=true"}
"""Options that are keys."""


def full_key(argument: str) -> str:
    """An override with its key written as the configuration has it, and its value as Hydra reads it."""
    argument = OPTIONS.get(argument, argument)
    key, equals, value = argument.partition("=")
    if (
        key in TEXTS
        and value not in ("", "null")
        and not value.startswith(("[", "'", '"'))
        and "," not in value
    ):
        value = f"'{value}'"
    return f"{ALIASES.get(key, key)}{equals}{value}"


OF_A_BUNDLE = ("encoder", "decoder")
"""Groups of a training run that a bundle to start from decides."""


def left_out(arguments: Sequence[str]) -> list[str]:
    """Overrides that take out of a training run what nobody asked for: networks, where it starts from a bundle, and the
    usual mixture, where tasks or sources are named.
    """
    given = dict(argument.lstrip("+~").partition("=")[::2] for argument in arguments)
    given = {key: value for key, value in given.items() if value not in ("", "null")}
    out = list(OF_A_BUNDLE) if "bundle" in given else []
    if "tasks" in given or "sources" in given:
        out.append("mixture")
    asked = {key.partition(".")[0] for key in given}
    return [f"~{group}" for group in out if group not in asked]


def is_override(argument: str) -> bool:
    """Whether an argument is an override of the configuration, and no option or an option's value."""
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def options_first(arguments: Sequence[str]) -> list[str]:
    """The arguments with overrides behind options: Hydra's own parser takes overrides in one run only."""
    overrides = [one for one in arguments if is_override(one)]
    return [*(one for one in arguments if one not in overrides), *overrides]


def overview(commands: Mapping[str, str]) -> str:
    """What ``protscribe --help`` says; ``commands`` gives a line about each."""
    width = max(map(len, commands))
    lines = "".join(f"  {name:{width}}  {summary}\n" for name, summary in commands.items())
    return _SUMMARY.format(commands=lines)


def find_config_dir(arguments: Sequence[str]) -> Path | None:
    """The user's own folder of configurations (``--config-dir DIR``, ``-cd DIR``), its files checked."""
    found: str | None = None
    for place, argument in enumerate(arguments):
        for option in ("--config-dir", "-cd"):
            if argument == option and place + 1 < len(arguments):
                found = arguments[place + 1]
            elif argument.startswith(f"{option}="):
                found = argument.partition("=")[2]
    if found is None:
        return None
    folder = Path(found)
    if not folder.is_dir():
        raise ConfigError("config.not_found", f"--config-dir {found}: there is no such folder")
    from protscribe.configuration import check_yaml_files

    check_yaml_files(folder)
    return folder


def command_help(name: str, summary: str, folder: Path | None, *, composed: bool) -> str:
    """The commented YAML is the reference: it names every key, and cannot fall behind."""
    lines = [f"protscribe {name}: {summary}", ""]
    if not composed:
        return "\n".join([*lines, f"usage: protscribe {name} [--config-dir DIR]", ""])
    from protscribe.catalogue import configs_folder

    shipped = Path(str(configs_folder()))
    text = (shipped / f"{name}.yaml").read_text(encoding="utf-8")
    body = [line for line in text.splitlines() if not line.startswith(("defaults:", "  - "))]
    lines += [
        f"usage: protscribe {name} KEY=VALUE ... [-m] [--cfg job] [--config-dir DIR] [--hydra-help]",
        "",
        "keys:",
    ]
    lines += [f"  {line}".rstrip() for line in body]
    groups = [
        line.split(":")[0].removeprefix("  - ") for line in text.splitlines() if line.startswith("  - ")
    ]
    shown = []
    for group in groups:
        roots = [root / group for root in (shipped, folder) if root is not None]
        options = sorted({path.stem for root in roots if root.is_dir() for path in root.glob("*.yaml")})
        if options and group != "hydra":
            shown.append(f"  {group}={'|'.join(options)}")
    if shown:
        lines += ["", "groups of keys, chosen by name (their own keys: GROUP.KEY=VALUE):", *shown]
    return "\n".join(lines) + "\n"
