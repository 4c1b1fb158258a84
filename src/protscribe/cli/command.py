"""What a sub-command is, and the statuses with which one ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DONE, BUG, USAGE, REJECTED, PREEMPTED = 0, 1, 2, 3, 75


@dataclass(frozen=True)
class Command:
    """One sub-command: what it does in a line, and the function that runs it and gives an exit status.

    ``run`` gets what was composed and the user's own folder of configurations; ``check`` gives the keywords that the command
    calls its function with, or raises one :class:`~protscribe.errors.ConfigError` with everything that is wrong, before
    anything is built or read. ``composed``: whether ``NAME.yaml`` is composed at all. ``trains``: whether what a
    training needs is left out where nobody asked for it (:func:`protscribe.usage.left_out`). ``bare``: the key that an
    argument means which is neither ``KEY=VALUE`` nor an option.
    """

    summary: str
    run: Callable[[dict[str, Any], Path | None], int]
    check: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    composed: bool = True
    trains: bool = False
    bare: str = ""

    def keyed(self, arguments: Sequence[str]) -> list[str]:
        """The arguments with that key before the first one, where it stands alone."""
        first = arguments[0] if arguments else ""
        if not self.bare or not first or first.startswith(("-", "~", "+")) or "=" in first:
            return list(arguments)
        return [f"{self.bare}={first}", *arguments[1:]]


def tell_rejected(count: int, details: Sequence[str]) -> int:
    """Says how many records were rejected and why, the first few one by one."""
    if not count:
        return DONE
    print(f"protscribe: {count} records were rejected", file=sys.stderr)
    for detail in details[:10]:
        print(f"  {detail}", file=sys.stderr)
    return REJECTED
