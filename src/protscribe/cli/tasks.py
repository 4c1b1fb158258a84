"""``protscribe tasks``: the tasks that can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protscribe.cli.command import DONE, Command


def _tasks(config: dict[str, Any], folder: Path | None) -> int:
    from protscribe.catalogue import all_tasks
    from protscribe.inspection import describe_tasks, show

    show(describe_tasks(all_tasks(folder).values()))
    return DONE


TASKS = Command("list the tasks that can be trained", _tasks, composed=False)
