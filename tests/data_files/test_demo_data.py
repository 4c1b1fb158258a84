"""The demo's tables: sound, split without leaks, described truly, and with something in them to learn."""

from __future__ import annotations

import csv
import random
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from Bio import SeqIO
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from protscribe.catalogue import configs_folder

ROOT = configs_folder().parent
DATA = ROOT / "data"
sys.path.insert(0, str(ROOT / "scripts"))
import build_demo_data as build  # noqa: E402
import downloads  # noqa: E402
import homology  # noqa: E402

CLASSES = ("solubility", "antimicrobial", "capsid")
SITES = ("rna_binding", "mmp2_cleavage")
TABLES = (*CLASSES, *SITES, "long_disorder", "mhc_affinity", "tcr_epitope")
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
Rows = list[dict[str, str]]
Floats = NDArray[np.float64]


def read(name: str) -> Rows:
    with (DATA / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# What the tables hold


def test_there_are_the_eight_tables_and_they_are_small() -> None:
    assert {path.stem for path in DATA.glob("*.csv")} == set(TABLES)
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) <= 4_000_000


@pytest.mark.parametrize("name", TABLES)
def test_columns_ids_and_letters(name: str) -> None:
    rows = read(name)
    chains = ("sequence_a", "sequence_b") if name == "tcr_epitope" else ("sequence",)
    field = {"mhc_affinity": ("allele",), "tcr_epitope": ("v_gene",)}.get(name, ())
    assert tuple(rows[0]) == ("id", *chains, *field, "label", "split")
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    for row in rows:
        assert all(row[chain] and not set(row[chain]) - set(RESIDUES) for chain in chains), row["id"]
        assert all(row[name] for name in field), row["id"]


@pytest.mark.parametrize("name", [*CLASSES, "tcr_epitope"])
def test_classes_are_balanced_well_enough(name: str) -> None:
    for split in ("train", "validation", "test"):
        labels = Counter(row["label"] for row in read(name) if row["split"] == split)
        assert set(labels) == {"0", "1"}
        assert min(labels.values()) > 0.4 * labels.total()


@pytest.mark.parametrize("name", SITES)
def test_sites_are_ascending_positions_of_the_protein(name: str) -> None:
    for row in read(name):
        positions = [int(text) for text in row["label"].split(";") if text]
        assert positions == sorted(set(positions))
        assert 1 <= positions[0] <= positions[-1] <= len(row["sequence"])


def test_the_sites_are_where_biology_puts_them() -> None:
    """RNA is bound by positive charges; MMP-2 cleaves before leucine: positions one off would not show this."""
    enriched = {}
    for name, letters in (("rna_binding", "KR"), ("mmp2_cleavage", "L")):
        at, everywhere = Counter[str](), Counter[str]()
        for row in read(name):
            everywhere.update(row["sequence"])
            places = [int(text) for text in row["label"].split(";") if text]
            # The second residue of each cleaved bond, P1'.
            chosen = [p for p in places if p - 1 in places] if name == "mmp2_cleavage" else places
            at.update(row["sequence"][position - 1] for position in chosen)
        share = [sum(counts[letter] for letter in letters) / counts.total() for counts in (at, everywhere)]
        enriched[name] = share[0] / share[1]
    assert enriched["rna_binding"] > 2
    assert enriched["mmp2_cleavage"] > 2.5


def test_disorder_has_one_label_a_residue() -> None:
    for row in read("long_disorder"):
        assert re.fullmatch("[01]+", row["label"])
        assert len(row["label"]) == len(row["sequence"])


def test_affinities_lie_in_the_range_of_the_task() -> None:
    rows = read("mhc_affinity")
    assert all(0 <= float(row["label"]) <= 4.7 and 8 <= len(row["sequence"]) <= 11 for row in rows)
    assert set(Counter(row["allele"] for row in rows).values()) == {700}
    assert len({(row["allele"], row["sequence"]) for row in rows}) == len(rows)


def test_each_receptor_stands_once_with_its_epitope_and_once_with_another() -> None:
    rows = read("tcr_epitope")
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        seen[row["sequence_a"]][row["label"]] = row["sequence_b"]
    assert len(seen) * 2 == len(rows)
    assert all(pair["0"] != pair["1"] for pair in seen.values())
    for split in ("train", "validation", "test"):
        counts = Counter((row["sequence_b"], row["label"]) for row in rows if row["split"] == split)
        for epitope, _ in counts:
            assert counts[epitope, "1"] == counts[epitope, "0"], "an epitope alone must not tell the answer"


# Splits


def splits_of_groups(rows: Rows, groups: dict[Any, int], chain: str = "sequence") -> set[int]:
    """How many splits each group is in."""
    found = defaultdict(set)
    for row in rows:
        found[groups[row[chain]]].add(row["split"])
    return {len(splits) for splits in found.values()}


@pytest.mark.parametrize("name", TABLES)
def test_no_sequence_is_in_two_splits(name: str) -> None:
    rows = read(name)
    chain = "sequence_a" if name == "tcr_epitope" else "sequence"
    groups = {sequence: place for place, sequence in enumerate({row[chain] for row in rows})}
    assert splits_of_groups(rows, groups, chain) == {1}


def test_near_peptides_are_in_one_split() -> None:
    rows = read("mhc_affinity")
    peptides = sorted({row["sequence"] for row in rows})
    groups = homology.components(peptides, homology.near_peptide_links(peptides))
    assert len(set(groups.values())) < len(peptides), "there are relatives to keep together"
    assert splits_of_groups(rows, groups) == {1}


def test_peptides_that_share_words_are_in_one_split() -> None:
    rows = read("antimicrobial")
    peptides = [row["sequence"] for row in rows]
    assert splits_of_groups(
        rows, homology.components(peptides, homology.shared_word_links(peptides, 3, 0.5))
    ) == {1}


@pytest.mark.skipif(homology.shutil.which("mmseqs") is None, reason="no mmseqs program on PATH")
@pytest.mark.parametrize("name", ["rna_binding", "antimicrobial"])
def test_homologues_are_in_one_split(name: str) -> None:
    rows = read(name)
    sequences = [row["sequence"] for row in rows]
    groups = homology.components(sequences, homology.homology_links(sequences))
    assert splits_of_groups(rows, groups) == {1}


# The pages beside the tables


def test_the_readme_counts_what_is_there() -> None:
    text = (DATA / "README.md").read_text(encoding="utf-8")
    for name in TABLES:
        rows = read(name)
        block = re.search(rf"<!-- counts: {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
        assert block, name
        for split in ("train", "validation", "test"):
            here = [row for row in rows if row["split"] == split]
            assert f"| {split} | {len(here):,} | {build.label_statistics(here, name)} |" in block[1]
    for package in downloads.PACKAGES:
        assert (DATA / "licences" / f"{package}.txt").stat().st_size > 500


def test_the_sample_is_of_test_rows() -> None:
    tests = {row["id"]: row["sequence"] for n in TABLES[:6] for row in read(n) if row["split"] == "test"}
    sample = {record.id: str(record.seq) for record in SeqIO.parse(DATA / "sample.fasta", "fasta")}
    assert len(sample) == 10
    assert all(tests[id] == sequence for id, sequence in sample.items())


# Something to learn: simple models on composition against the majority


def composition(sequence: str) -> list[float]:
    return [*(sequence.count(letter) / len(sequence) for letter in RESIDUES), np.log(len(sequence))]


def ends(sequence: str, places: tuple[int, ...]) -> list[float]:
    return [float(sequence[place] == letter) for place in places for letter in RESIDUES]


def halves(rows: Rows, features: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Features and labels of the training rows, then of the test rows."""
    labels = np.array([float(row["label"]) for row in rows])
    splits = np.array([row["split"] for row in rows])
    train, test = splits == "train", splits == "test"
    return features[train], labels[train], features[test], labels[test]


@pytest.mark.parametrize("name", CLASSES)
def test_composition_beats_the_majority(name: str) -> None:
    rows = read(name)
    inputs, labels, tests, truths = halves(rows, np.array([composition(row["sequence"]) for row in rows]))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(inputs, labels)
    majority = max(truths.mean(), 1 - truths.mean())
    assert model.score(tests, truths) > majority + 0.08
    assert roc_auc_score(truths, model.predict_proba(tests)[:, 1]) > 0.65


@pytest.mark.parametrize(
    ("name", "gain"), [("rna_binding", 2.0), ("mmp2_cleavage", 3.0), ("long_disorder", 1.5)]
)
def test_neighbours_of_a_residue_tell_its_label(name: str, gain: float) -> None:
    inputs: dict[str, list[Floats]] = {"train": [], "test": []}
    labels: dict[str, list[Floats]] = {"train": [], "test": []}
    for row in read(name):
        if row["split"] not in inputs:
            continue
        sequence = row["sequence"]
        truth = np.zeros(len(sequence))
        if name == "long_disorder":
            truth[:] = list(map(int, row["label"]))
        else:
            truth[[int(text) - 1 for text in row["label"].split(";") if text]] = 1
        padded = np.zeros((len(sequence) + 10, len(RESIDUES)))
        padded[np.arange(len(sequence)) + 5, [RESIDUES.index(letter) for letter in sequence]] = 1
        windows = [padded[shift : shift + len(sequence)] for shift in range(11)]
        inputs[row["split"]].append(np.hstack([*windows, np.mean(windows, axis=0)]).astype(np.float32))
        labels[row["split"]].append(truth)
    model = LogisticRegression(max_iter=100, C=0.05)
    model.fit(np.vstack(inputs["train"]), np.concatenate(labels["train"]))
    scores, truths = model.predict_proba(np.vstack(inputs["test"]))[:, 1], np.concatenate(labels["test"])
    assert average_precision_score(truths, scores) > gain * truths.mean()


def test_peptides_tell_their_affinity_beyond_the_allele() -> None:
    rows = read("mhc_affinity")
    truths, scores, means = [], [], []
    for allele in sorted({row["allele"] for row in rows}):
        here = [row for row in rows if row["allele"] == allele]
        features = [ends(row["sequence"], (0, 1, 2, -3, -2, -1)) for row in here]
        inputs, labels, tests, true = halves(here, np.array(features))
        truths.extend(true)
        scores.extend(Ridge(5).fit(inputs, labels).predict(tests))
        means.extend([labels.mean()] * len(true))
    assert spearmanr(truths, scores).statistic > spearmanr(truths, means).statistic + 0.2


def test_receptors_tell_their_epitope() -> None:
    rows = read("tcr_epitope")
    genes = sorted({row["v_gene"] for row in rows})
    right = []
    for epitope in sorted({row["sequence_b"] for row in rows}):
        here = [row for row in rows if row["sequence_b"] == epitope]
        features = [
            [
                *composition(row["sequence_a"]),
                *ends(row["sequence_a"], (3, 4, 5, -5, -4, -3)),
                *(float(row["v_gene"] == gene) for gene in genes),
            ]
            for row in here
        ]
        inputs, labels, tests, truths = halves(here, np.array(features))
        right.extend(LogisticRegression(C=0.3, max_iter=1000).fit(inputs, labels).predict(tests) == truths)
    assert np.mean(right) > 0.6


# The builder


def test_components_are_single_linkage() -> None:
    assert homology.components("abcd", [("a", "b"), ("c", "b")]) == {"a": 0, "b": 0, "c": 0, "d": 1}


def test_groups_are_never_divided_and_shares_are_met() -> None:
    groups = [number // 3 for number in range(300)]
    classes = ["0" if number % 2 else "1" for number in range(300)]
    splits = homology.split_by_group(groups, classes, (0.8, 0.1, 0.1), random.Random(0))
    assert all(len({splits[3 * group + i] for i in range(3)}) == 1 for group in range(100))
    counts = Counter(splits)
    assert 24 <= counts["test"] <= 30
    assert 24 <= counts["validation"] <= 30


def test_a_large_group_goes_to_training() -> None:
    splits = homology.split_by_group(
        [0] * 40 + list(range(1, 61)), [""] * 100, (0.4, 0.3, 0.3), random.Random(0)
    )
    assert set(splits[:40]) == {"train"}


def test_overlapping_peptides_are_joined() -> None:
    assert build.joined(["YEQYIKWPW", "QYIKWPWYI", "YEQYIKWPWY"]) == "YEQYIKWPWYI"
    assert build.joined(["AEIPKEEVKPF", "ASKIITLKK"]) is None


def test_a_derangement_keeps_the_values_and_moves_each() -> None:
    values = list("aaabbbccdd")
    moved = build.deranged(values, random.Random(3))
    assert sorted(moved) == values
    assert all(one != other for one, other in zip(values, moved, strict=True))


def test_without_mmseqs_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="no `mmseqs` program on PATH"):
        homology.homology_links(["MKT"])


def test_without_a_wheel_it_says_which(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no wheel tcrdist3-0\.3"):
        build.tcr_epitope(downloads.Wheels(tmp_path))
