"""Several seeds by hand, and what cannot be merged."""

import json
import math

import pytest
from scipy import stats

from protscribe.errors import ConfigError, InputError
from protscribe.evaluation.seeds import Spread, merge_seeds


def write(folder, value, count=10, gain=0.1, metric="accuracy"):
    folder.mkdir()
    methods = {
        "protscribe": {"metrics": {metric: value, "mcc": None}},
        "head": {"metrics": {metric: value - gain, "mcc": 0.2}},
    }
    task = {"count": count, "methods": methods, "gains": {"head": {"value": gain}}}
    (folder / "evaluation.json").write_text(json.dumps({"tasks": {"t": task}}))
    return folder


def test_spread_by_hand():
    found = Spread.of([1.0, 2.0, 3.0])
    reach = stats.t.ppf(0.975, 2) * 1.0 / math.sqrt(3)
    assert (found.mean, found.deviation, found.seeds) == (2.0, 1.0, 3)
    assert (found.lower, found.upper) == pytest.approx((2 - reach, 2 + reach))
    assert math.isnan(Spread.of([1.0]).deviation)
    assert math.isnan(Spread.of([1.0, None]).mean)


def test_three_seeds(tmp_path):
    folders = [
        write(tmp_path / str(seed), value, gain=0.1 * seed) for seed, value in enumerate((0.7, 0.8, 0.9))
    ]
    found = merge_seeds(folders)
    assert found.metrics["t"]["protscribe"]["accuracy"].mean == pytest.approx(0.8)
    assert found.metrics["t"]["head"]["accuracy"].values == pytest.approx((0.7, 0.7, 0.7))
    assert found.metrics["t"]["head"]["accuracy"].deviation == pytest.approx(0)
    assert found.gains["t"]["head"].mean == pytest.approx(0.1)
    assert "| t | accuracy | 0.800 ± 0.100 | 0.700 ± 0.000 |" in found.to_markdown()
    found.write(tmp_path)
    plain = json.loads((tmp_path / "seeds.json").read_text())
    assert plain["metrics"]["t"]["protscribe"]["mcc"]["mean"] is None
    assert plain["metrics"]["t"]["protscribe"]["accuracy"]["seeds"] == 3
    assert (tmp_path / "seeds.md").read_text() == found.to_markdown()


def test_what_cannot_be_merged(tmp_path):
    first = write(tmp_path / "a", 0.5)
    for name, keys in (("b", {"count": 11}), ("c", {"metric": "macro_f1"})):
        with pytest.raises(ConfigError, match="have not the same tasks") as caught:
            merge_seeds([first, write(tmp_path / name, 0.5, **keys)])
        assert caught.value.code == "evaluation.seeds"
    with pytest.raises(ConfigError, match="at least one folder"):
        merge_seeds([])
    with pytest.raises(InputError) as missing:
        merge_seeds([tmp_path / "nowhere"])
    assert missing.value.code == "input.not_found"
    (tmp_path / "b" / "evaluation.json").write_text("{}")
    with pytest.raises(InputError) as wrong:
        merge_seeds([tmp_path / "b"])
    assert wrong.value.code == "input.format"
