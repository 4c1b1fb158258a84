"""The command line: ``protscribe COMMAND``. The only room that knows Hydra, and of it only ``composition``.

Every command is a Python function with a typed result, called with what Hydra composed; here stand
composition, checking, and what is printed. A new command is a module of its own beside these and a line in
:data:`COMMANDS`. Exit status: 0 all done, 2 usage, configuration or input, 3 done with rejected records,
75 preempted and resumable, 1 a bug.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import protscribe
from protscribe.cli.audit import AUDIT
from protscribe.cli.calibrate import CALIBRATE
from protscribe.cli.command import BUG, DONE, PREEMPTED, REJECTED, USAGE, Command
from protscribe.cli.composition import compose_and_run
from protscribe.cli.evaluate import EVALUATE
from protscribe.cli.explain import EXPLAIN
from protscribe.cli.influence import INFLUENCE
from protscribe.cli.inspect import INSPECT
from protscribe.cli.merge import MERGE
from protscribe.cli.neighbours import NEIGHBOURS
from protscribe.cli.predict import PREDICT
from protscribe.cli.pretrain import PRETRAIN
from protscribe.cli.report import REPORT
from protscribe.cli.serve import SERVE
from protscribe.cli.split import SPLIT
from protscribe.cli.status import STATUS
from protscribe.cli.tasks import TASKS
from protscribe.cli.train import TRAIN
from protscribe.errors import ConfigError, ProcessError, ProtscribeError, nearest
from protscribe.processes import has_met, seat
from protscribe.progress import log_on_stderr
from protscribe.usage import command_help, find_config_dir, full_key, left_out, overview

__all__ = ["BUG", "COMMANDS", "DONE", "PREEMPTED", "REJECTED", "USAGE", "Command", "check", "main"]

COMMANDS: dict[str, Command] = {
    "train": TRAIN,
    "pretrain": PRETRAIN,
    "influence": INFLUENCE,
    "predict": PREDICT,
    "status": STATUS,
    "merge": MERGE,
    "serve": SERVE,
    "evaluate": EVALUATE,
    "report": REPORT,
    "explain": EXPLAIN,
    "calibrate": CALIBRATE,
    "neighbours": NEIGHBOURS,
    "split": SPLIT,
    "audit": AUDIT,
    "tasks": TASKS,
    "inspect": INSPECT,
}
"""Every command by the name that is typed, in the order of ``protscribe --help``."""
AFTER_FIRST = 15.0
"""Seconds that a process which is not the first one leaves that one to say what is wrong."""


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
    name = arguments[0]
    if name not in COMMANDS:
        raise ConfigError("usage.command", f"there is no command {name!r}; {nearest(name, COMMANDS)}")
    command = COMMANDS[name]
    rest = [full_key(argument) for argument in command.keyed(arguments[1:])]
    if command.trains:
        rest += left_out(rest)
    folder = find_config_dir(rest)
    if any(argument in ("-h", "--help") for argument in rest):
        print(command_help(name, command.summary, folder, composed=command.composed), end="")
        return DONE
    if not command.composed:
        return command.run({}, folder)
    return compose_and_run(name, command, rest, folder)


def check(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords with which a command's function is called, for a composed configuration.

    Raises one :class:`ConfigError` with everything that is wrong, before anything is built or read.
    """
    return COMMANDS[name].check(config)
