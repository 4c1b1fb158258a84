"""Made labels: right about the sequence, a function of what they are drawn with, and refused where they fit no task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protscribe.catalogue import read_task
from protscribe.data.makers import (
    HIDDEN,
    Find,
    Hide,
    make_once,
    maker_from_plain,
    maker_to_plain,
    occurrences,
)
from protscribe.errors import ConfigError
from protscribe.records import ProteinRecord
from protscribe.task import Task

RESIDUE, MOTIF, RESTORE = map(read_task, ("where_is_residue", "where_is_motif", "restore_residues"))
PLACES = ("motif_1", "motif_2", "motif_3")
STANDARD = "ACDEFGHIKLMNPQRSTVWY"
chains = st.text(STANDARD + "XUBZO", min_size=1, max_size=60)
seeds = st.integers(0, 2**32 - 1)


def draw(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def record(chain: str) -> ProteinRecord:
    return ProteinRecord("p", (chain,), fields={"organism": "yeast"})


@given(st.text("ACX", max_size=30), st.lists(st.sampled_from("ACx"), min_size=1, max_size=4))
def test_occurrences_are_those_that_looking_finds(chain: str, motif: list[str]) -> None:
    needed = len("".join(motif).rstrip("x")) or 1
    found = [
        start + 1
        for start in range(len(chain) - needed + 1)
        if all(letter in ("x", chain[start + place]) for place, letter in enumerate(motif[:needed]))
    ]
    assert occurrences(chain, motif) == tuple(found)


@given(chains, seeds)
def test_every_residue_of_the_kind_that_is_asked_is_found(chain: str, seed: int) -> None:
    asked, answer = Find(("residue",)).make(record(chain), RESIDUE, draw(seed), training=True)
    letter = asked.fields["residue"]
    assert answer == tuple(place for place, residue in enumerate(chain, start=1) if residue == letter)
    assert asked.chains == (chain,)
    assert asked.fields["organism"] == "yeast"
    assert RESIDUE.prompt(asked)[1].text == letter
    assert RESIDUE.codec.decode(RESIDUE.codec.encode(answer, asked).tokens, asked) == answer


@given(chains, seeds)
def test_a_motif_is_found_where_it_stands(chain: str, seed: int) -> None:
    asked, answer = Find(PLACES).make(record(chain), MOTIF, draw(seed), training=True)
    motif = [asked.fields[place] for place in PLACES]
    assert answer == occurrences(chain, motif)
    assert motif[0] != "x"
    assert [symbol.text for symbol in MOTIF.prompt(asked)[1:]] == motif


def test_what_is_asked_is_there_but_for_the_share_that_is_drawn_blindly() -> None:
    chain = "ACDEFGHIKLMNPQRS"
    for absent, low, high in ((0.0, 0.0, 0.0), (0.5, 0.3, 0.6)):
        maker = Find(PLACES, wild=0.0, absent=absent)
        answers = [maker.make(record(chain), MOTIF, draw(seed), training=True)[1] for seed in range(300)]
        assert low <= sum(not answer for answer in answers) / len(answers) <= high


def test_rare_residues_are_asked_as_often_as_common_ones() -> None:
    chain = "A" * 97 + "WHC"
    maker = Find(("residue",), absent=0.0)
    letters = [
        maker.make(record(chain), RESIDUE, draw(s), training=True)[0].fields["residue"] for s in range(400)
    ]
    assert all(70 <= letters.count(letter) <= 130 for letter in "AWHC")


def test_places_are_left_open_at_their_rate_where_the_task_allows_it() -> None:
    maker = Find(PLACES, wild=0.3, absent=0.0)
    asked = [
        maker.make(record("ACDEFGHIKL"), MOTIF, draw(seed), training=True)[0].fields for seed in range(500)
    ]
    shares = [sum(fields[place] == "x" for fields in asked) / len(asked) for place in PLACES]
    assert shares[0] == 0
    assert all(0.24 < share < 0.36 for share in shares[1:])


@given(chains, seeds, st.booleans())
def test_hidden_residues_are_x_for_the_encoder_and_themselves_in_the_answer(
    chain: str, seed: int, training: bool
) -> None:
    asked, answer = Hide(known="KCYM").make(record(chain), RESTORE, draw(seed), training=training)
    (shown,) = asked.chains
    assert len(shown) == len(answer) == len(chain)
    for before, now, label in zip(chain, shown, answer, strict=True):
        if before in "KCYM":
            assert now == before
            assert label in ("-" if not training else f"-{before}")
        elif before in STANDARD:
            assert (now, label) == (HIDDEN, before)
        else:
            assert (now, label) == (before, "-")
    RESTORE.codec.encode(answer, asked)


def test_a_share_is_hidden_and_a_share_of_the_rest_counts_in_training() -> None:
    maker, chain = Hide(share=0.3, copied=0.2), STANDARD * 200
    asked, answer = maker.make(record(chain), RESTORE, draw(1), training=True)
    hidden = [now == HIDDEN for now in asked.sequence]
    scored = [label != "-" for label in answer]
    assert 0.27 < np.mean(hidden) < 0.33
    assert all(counts for counts, out in zip(scored, hidden, strict=True) if out)
    copied = [counts for counts, out in zip(scored, hidden, strict=True) if not out]
    assert 0.17 < np.mean(copied) < 0.23


def test_something_is_always_hidden() -> None:
    maker = Hide(share=0.01)
    assert all(
        HIDDEN in maker.make(record("ACD"), RESTORE, draw(seed), training=True)[0].sequence
        for seed in range(50)
    )


@pytest.mark.parametrize(
    ("maker", "task"), [(Find(("residue",)), RESIDUE), (Find(PLACES), MOTIF), (Hide(share=0.5), RESTORE)]
)
def test_what_is_made_is_a_function_of_the_draw(maker: Any, task: Task) -> None:
    chain = record(STANDARD * 3)
    made = [maker.make(chain, task, draw(seed), training=True) for seed in (4, 4, 5, 6, 7)]
    assert made[0] == made[1]
    assert len({str(one) for one in made}) > 2
    assert make_once(maker, chain, task, 1) == make_once(maker, chain, task, 1)
    assert any(
        make_once(maker, chain, task, 1) != make_once(maker, chain, task, seed) for seed in range(2, 6)
    )


@pytest.mark.parametrize("maker", [Find(("residue",), wild=0.1), Hide(known="KC", share=0.5, copied=0.0)])
def test_a_maker_survives_being_written_and_read(maker: Any) -> None:
    assert maker_from_plain(maker_to_plain(maker)) == maker


@pytest.mark.parametrize(
    ("plain", "code"),
    [
        ({"kind": "fnid", "fields": ["residue"]}, "config.value"),
        ({"kind": "find", "feilds": ["residue"]}, "config.unknown_key"),
        ({"kind": "find"}, "config.missing"),
        ({"kind": "find", "fields": "residue"}, "config.type"),
        ({"kind": "find", "fields": ["residue"], "wild": 1.5}, "config.value"),
        ({"kind": "find", "fields": ["residue"], "absent": True}, "config.value"),
        ({"kind": "hide", "known": 3}, "config.type"),
        ({"kind": "hide", "known": "J"}, "config.value"),
        ({"kind": "hide", "share": float("nan")}, "config.value"),
        ({"kind": "hide", "copied": -0.1}, "config.value"),
    ],
)
def test_a_maker_that_is_wrong_is_refused(plain: dict[str, Any], code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        maker_from_plain(plain)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("maker", "task", "said"),
    [
        (Find(("residue",)), RESTORE, "'residue_set'"),
        (Find(("resideu",)), RESIDUE, "did you mean 'residue'"),
        (Find(("host",)), read_task("where_is_residue"), "no condition 'host'"),
        (Hide(), RESIDUE, "'residue_labels'"),
        (Hide(), read_task("secondary_structure_3"), None),
        (Hide(), read_task("structure_letters"), "'residue_labels'"),
    ],
)
def test_a_task_that_no_labels_can_be_made_for_is_refused(maker: Any, task: Task, said: str | None) -> None:
    if said is None:
        # H, E and C happen to be residue letters: nothing is wrong with such a task.
        maker.check(task)
        return
    with pytest.raises(ConfigError, match=said) as caught:
        maker.check(task)
    assert caught.value.code == "config.value"


def test_labels_that_are_no_residues_are_refused() -> None:
    plain = RESTORE.to_plain() | {"codec": {"kind": "residue_labels", "labels": ["1", "0"]}}
    with pytest.raises(ConfigError, match="residue letters"):
        Hide().check(Task.from_plain(plain))
    plain = RESTORE.to_plain() | {"codec": {"kind": "residue_labels", "labels": ["A", "C"], "unscored": ""}}
    with pytest.raises(ConfigError, match="unscored"):
        Hide().check(Task.from_plain(plain))
