"""Five minutes of everything going wrong beside the other tests; hours of it with ``python scripts/chaos.py --minutes 60``."""

from __future__ import annotations

import json
import subprocess


def test_no_row_is_lost_doubled_or_wrong(chaos: subprocess.Popen[str]) -> None:
    said, complaints = chaos.communicate()
    assert chaos.returncode == 0, complaints
    told = json.loads(said.splitlines()[-1])
    assert told["wrong"] is None
    assert told["rounds"] >= 1
    assert told["rows"] > 0
