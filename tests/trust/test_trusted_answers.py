"""A predictor whose bundle knows how far to trust it: calibrated answers, guarantees, abstention, and files of them."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from pyarrow import parquet

from protscribe.checkpoint import load_bundle
from protscribe.errors import CheckpointError, ConfigError
from protscribe.inspection import describe_bundle, show
from protscribe.outputs import predict_file
from protscribe.predictor import Predictor
from protscribe.trust import Calibration, Conformal, Trust
from protscribe.trust.calibration import can_be_calibrated
from protscribe.trust.conformal import family_of
from tests.checkpoint.made import change, save
from tests.small import TASKS, make_bundle

CHAINS = ["MKTAYISSYTAK", "MSTACDEFGHIKLMNPQ", "GGSTYYSTPLKE"]
SURE = Conformal(60, (0.5, 0.9), (0.4, 0.8))
ONE_CHAIN = [
    name for name, task in TASKS.items() if task.chains == 1 and not task.molecule and name != "allele"
]
PROMISED = [name for name in ONE_CHAIN if family_of(TASKS[name]) is not None]


def trust_of(task):
    fits = can_be_calibrated(task.codec)
    free = task.codec.asks not in ("first", "marginals")
    return Trust(Calibration(0.5, 0.7 if free else 0.0, 40) if fits else None, SURE)


@pytest.fixture(scope="module")
def bundle():
    return make_bundle()


@pytest.fixture(scope="module")
def plain(bundle):
    return Predictor(bundle, "cpu")


@pytest.fixture(scope="module")
def trusted(bundle):
    return Predictor(replace(bundle, trust={name: trust_of(task) for name, task in TASKS.items()}), "cpu")


def chances(prediction):
    found = prediction.probabilities
    if isinstance(found, dict):
        return np.array(list(found.values()))
    if prediction.kind == "residue_set":
        return np.asarray(found)
    return np.array([list(row.values()) if isinstance(row, dict) else row.probability for row in found])


@pytest.mark.parametrize("name", ONE_CHAIN)
def test_probabilities_are_calibrated_and_say_so_and_can_be_had_as_they_are(plain, trusted, name):
    before, after = plain.predict(CHAINS[0], name), trusted.predict(CHAINS[0], name)
    bare = trusted.predict(CHAINS[0], name, calibrated=False)
    assert (bare.value, bare.score, bare.score_meaning) == (before.value, before.score, before.score_meaning)
    assert not bare.calibrated
    fits = can_be_calibrated(TASKS[name].codec)
    assert after.calibrated == fits
    assert after.score_meaning.endswith(", calibrated") == fits
    if fits:
        assert not np.allclose(chances(after), chances(before))
    if TASKS[name].codec.asks in ("first", "marginals"):
        assert after.value == before.value


@pytest.mark.parametrize("name", PROMISED)
def test_every_kind_of_answer_has_a_guarantee_that_grows_with_the_coverage(trusted, name):
    wide, narrow = (trusted.predict(CHAINS[0], name, coverage=level).guarantee for level in (0.9, 0.5))
    assert (wide.level, wide.rows, narrow.level) == (0.9, 60, 0.5)
    assert trusted.predict(CHAINS[0], name).guarantee is None
    kind = TASKS[name].codec.kind
    if kind == "number":
        assert wide.value[0] <= narrow.value[0] <= narrow.value[1] <= wide.value[1]
    elif kind in ("residue_labels", "segments"):
        assert len(wide.value) == len(CHAINS[0])
        assert all(set(less) <= set(more) for less, more in zip(narrow.value, wide.value, strict=True))
    else:
        assert set(narrow.value) <= set(wide.value)


def test_a_greedy_answer_has_the_guarantee_of_the_usual_one(trusted):
    for name in ("sites", "fold", "melting", "activities"):
        greedy = trusted.predict(CHAINS[1], name, readout="greedy", coverage=0.9)
        usual = trusted.predict(CHAINS[1], name, coverage=0.9)
        assert greedy.guarantee == usual.guarantee
        assert greedy.readout == "greedy"


def test_alone_or_together_the_guarantee_is_the_same(trusted):
    together = trusted.predict_many(CHAINS, ["place", "sites", "fold"], coverage=0.9, on_error="raise")
    for place, found in enumerate(together):
        alone = trusted.predict(CHAINS[place // 3], found.task, coverage=0.9)
        assert alone.guarantee == found.guarantee


def test_unsure_answers_are_marked_and_none_is_left_out(trusted):
    found = trusted.predict_many(CHAINS, ["place", "fold"], abstain_below=0.5)
    assert len(found) == 6
    for one in found:
        assert one.abstained == (one.score < 0.5)
        assert one.status == ("abstained" if one.abstained else "ok")
    assert all(one.abstained for one in trusted.predict_many(CHAINS, ["place"], abstain_below=1.0))
    known = trusted.predict(CHAINS[0], "grows", abstain_below=1.0)
    assert known.status == "condition_unknown;abstained"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"coverage": 0.95}, "at most 0.9"),
        ({"coverage": 1.5}, "between 0 and 1"),
        ({"abstain_below": 1.5}, "abstain_below is a score"),
        ({"coverage": 0.9, "calibrated": False}, "leave calibrated=false out"),
        ({"coverage": 0.9, "candidates": ["inside"]}, "give neither prefix"),
        ({"abstain_below": 0.5, "candidates": ["inside"]}, "give neither prefix"),
    ],
)
def test_what_does_not_go_together_is_told(trusted, how, said):
    with pytest.raises(ConfigError, match=said):
        trusted.predict(CHAINS[0], "place", **how)


def test_a_bundle_that_knows_nothing_says_what_to_do(plain, trusted):
    with pytest.raises(ConfigError, match="protscribe calibrate"):
        plain.predict(CHAINS[0], "place", coverage=0.9)
    with pytest.raises(ConfigError, match="nothing can be guaranteed"):
        trusted.predict(CHAINS[0], "letters", coverage=0.9)


def test_evidence_is_calibrated_unless_asked_otherwise(plain, trusted):
    from protscribe.data.readers import records_from

    records = list(records_from(CHAINS))
    (raw, *_), (bare, *_), (fitted, *_) = (
        plain.evidence(records, "place"),
        trusted.evidence(records, "place", calibrated=False),
        trusted.evidence(records, "place"),
    )
    assert (raw.evidence.probabilities == bare.evidence.probabilities).all()
    expected = Calibration(0.5).of_choice(raw.evidence.probabilities)
    assert fitted.evidence.probabilities == pytest.approx(expected)


# Files


@pytest.fixture(scope="module")
def written(trusted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "in.fasta").write_text("".join(f">p{place}\n{chain}\n" for place, chain in enumerate(CHAINS)))
    asked = ["place", "melting", "sites", "fold", "parts"]
    outputs = [str(folder / f"out.{suffix}") for suffix in ("csv", "parquet", "jsonl")]
    predict_file(
        trusted, str(folder / "in.fasta"), outputs, asked, coverage=0.9, abstain_below=0.5, progress=False
    )
    predict_file(trusted, str(folder / "in.fasta"), str(folder / "usual.csv"), asked, progress=False)
    answers = trusted.predict_many(CHAINS, asked, coverage=0.9, abstain_below=0.5)
    return folder, list(answers), answers


def test_tables_have_columns_for_guarantees_only_where_asked(written):
    folder, answers, found = written
    rows = list(csv.DictReader((folder / "out.csv").open()))
    assert "guarantee" not in next(csv.DictReader((folder / "usual.csv").open()))
    typed = parquet.read_table(folder / "out.parquet").to_pylist()
    for row, same, one in zip(rows, typed, answers, strict=True):
        assert (row["guarantee_level"], row["guarantee_rows"]) == ("0.9", "60")
        assert same["guarantee_rows"] == 60
        assert row["status"] == one.status == same["status"]
        value = one.guarantee.value
        if one.kind == "number":
            assert (float(row["guarantee_lower"]), float(row["guarantee_upper"])) == pytest.approx(value)
            assert (same["guarantee_lower"], same["guarantee_upper"]) == pytest.approx(value)
            assert row["guarantee"] == ""
            continue
        assert row["guarantee"] == same["guarantee"]
        if one.kind == "category":
            assert row["guarantee"].split(";") == list(value)
        if one.kind == "residue_labels":
            assert row["guarantee"].split(";") == ["".join(labels) for labels in value]
        if one.kind == "segments":
            assert row["guarantee"].split(";") == ["|".join(labels) for labels in value]
    assert {"guarantee", "guarantee_lower"} <= set(found.to_frame().columns)


def test_json_lines_hold_the_guarantee_and_what_it_means(written):
    folder, answers, _ = written
    for line, one in zip((folder / "out.jsonl").read_text().splitlines(), answers, strict=True):
        row = json.loads(line)
        assert row["guarantee"]["level"] == 0.9
        assert row["guarantee"]["meaning"] == one.guarantee.meaning
        assert row.get("calibrated", False) == one.calibrated
        assert "guarantee_rows" not in row


def test_a_notebook_shows_it(written):
    for one in written[1]:
        assert "90% guarantee" in one._repr_html_()


# Bundles


KNOWN = {
    "where": Trust(Calibration(0.8, 0.0, 30), SURE),
    "sites": Trust(None, SURE),
    "fold": Trust(Calibration(1.5)),
}


def test_trust_comes_back_from_a_bundle_and_is_told(tmp_path, capsys):
    save(tmp_path / "b", trust=KNOWN)
    assert load_bundle(tmp_path / "b").trust == KNOWN
    card = (tmp_path / "b" / "README.md").read_text()
    assert "## Trust" in card
    assert "| where | slope 0.8, offset 0 | 30 | up to 0.9 | 60 |" in card
    show(describe_bundle(tmp_path / "b"))
    assert "up to 0.9" in capsys.readouterr().out
    save(tmp_path / "old")
    assert load_bundle(tmp_path / "old").trust == {}
    assert "Trust" not in (tmp_path / "old" / "README.md").read_text()
    assert "trust" not in json.loads((tmp_path / "old" / "manifest.json").read_text())


@pytest.mark.parametrize(
    "told",
    [
        {"nowhere": {}},
        {"where": {"calibration": {"slope": -1}}},
        {"where": {"calibration": {"slope": 1, "function": "exec"}}},
        {"where": {"conformal": {"rows": 5, "levels": [0.5], "thresholds": []}}},
        {"where": {"conformal": {"rows": 5, "levels": [0.5], "thresholds": "0"}}},
        {"where": 5},
        [],
        "where",
    ],
)
def test_trust_that_nobody_fitted_is_refused(tmp_path, told):
    save(tmp_path / "b", trust=KNOWN)
    change(tmp_path / "b", lambda manifest: manifest.update(trust=told))
    with pytest.raises(CheckpointError):
        load_bundle(tmp_path / "b")
