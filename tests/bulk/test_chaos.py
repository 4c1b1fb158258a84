"""A quarter of a minute of everything going wrong; hours of it with ``python scripts/chaos.py --minutes 60``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "chaos.py"


@pytest.mark.parametrize("minutes", [0.25, pytest.param(5, marks=pytest.mark.long)])
def test_no_row_is_lost_doubled_or_wrong(minutes: float) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--minutes", str(minutes)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["wrong"] is None
    assert told["rounds"] >= 1
    assert told["rows"] > 0
