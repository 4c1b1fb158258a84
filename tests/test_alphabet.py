"""The alphabet: one id a residue for any string, and the one cleaning policy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.alphabet import (
    PAD_RESIDUE,
    RESIDUES,
    Cleaning,
    clean,
    is_clean,
    looks_nucleotide,
    residue_ids,
)
from protscribe.errors import ConfigError, SequenceError, Where


def test_ids_are_places_in_the_alphabet():
    ids = residue_ids(RESIDUES)
    assert ids.dtype == np.uint8
    assert ids.tolist() == list(range(25))
    assert PAD_RESIDUE == 25
    assert residue_ids("").shape == (0,)


@pytest.mark.parametrize(
    ("text", "position"), [("MKtA", 3), ("MJ", 2), ("Å", 1), ("MK<pad>", 3), ("M\x00", 2)]
)
def test_ids_refuse_what_was_not_cleaned(text, position):
    with pytest.raises(SequenceError) as caught:
        residue_ids(text)
    assert caught.value.code == "seq.char"
    assert caught.value.where.position == position


@pytest.mark.parametrize(
    ("text", "sequence", "counts"),
    [
        ("MKT", "MKT", {}),
        ("mkT", "MKT", {"lower_case": 2}),
        ("MKT*", "MKT", {"stop": 1}),
        (" M K\tT * ", "MKT", {"blank": 5, "stop": 1}),
        ("MJj", "MXX", {"j": 2, "lower_case": 1}),
        ("BZUOX", "BZUOX", {}),
        ("W", "W", {}),
    ],
)
def test_what_is_changed_is_counted(text, sequence, counts):
    cleaned = clean(text)
    assert cleaned.sequence == sequence
    assert cleaned.counts == counts


@pytest.mark.parametrize(
    ("text", "code", "position"),
    [
        ("", "seq.empty", None),
        (" \t", "seq.empty", None),
        ("*", "seq.empty", None),
        ("MK**", "seq.stop_inside", 3),
        ("M*KT", "seq.stop_inside", 2),
        ("M K-T", "seq.gap", 3),
        ("MK.", "seq.gap", 3),
        ("MK1", "seq.char", 3),
        ("MK\n", "seq.char", 3),
        ("Mß", "seq.char", 2),
        ("M\u0131", "seq.char", 2),
        ("M\udcff", "seq.char", 2),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_position(text, code, position):
    with pytest.raises(SequenceError) as caught:
        clean(text, where=Where(record="p1"))
    assert caught.value.code == code
    assert caught.value.where == Where(record="p1", position=position)


def test_messages_name_the_code_point():
    with pytest.raises(SequenceError, match=r"U\+00C5"):
        clean("MÅ")
    with pytest.raises(SequenceError, match="byte 0xFF"):
        clean("M\udcff")


def test_stricter_and_laxer_policies():
    assert clean("M-K.T", policy=Cleaning(degap=True)).counts == {"gap": 2}
    assert clean("M-K.T", policy=Cleaning(degap=True)).sequence == "MKT"
    with pytest.raises(SequenceError) as caught:
        clean("MkT", policy=Cleaning(soft_mask="reject"))
    assert (caught.value.code, caught.value.where.position) == ("seq.lower_case", 2)
    with pytest.raises(SequenceError) as caught:
        clean("MJ", policy=Cleaning(j="reject"))
    assert (caught.value.code, caught.value.where.position) == ("seq.char", 2)
    with pytest.raises(SequenceError):
        clean("--", policy=Cleaning(degap=True))
    with pytest.raises(ConfigError):
        Cleaning(j="drop")


@settings(max_examples=2000, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.text(alphabet=RESIDUES + RESIDUES.lower() + "J*-. \t1<>\x00Å"),
        st.text(alphabet=RESIDUES),
    )
)
def test_any_string_gives_one_id_a_residue_or_our_error(text):
    try:
        cleaned = clean(text)
    except SequenceError as error:
        refusal = error.code
    else:
        refusal = None
    if refusal is not None:
        assert refusal in ("seq.empty", "seq.stop_inside", "seq.gap", "seq.char")
        assert not is_clean(text)
        return
    removed = cleaned.counts.get("blank", 0) + cleaned.counts.get("stop", 0)
    assert len(residue_ids(cleaned.sequence)) == len(cleaned.sequence) == len(text) - removed
    assert clean(cleaned.sequence).counts == {}
    assert "".join(RESIDUES[i] for i in residue_ids(cleaned.sequence)) == cleaned.sequence


def test_nucleotides_are_told_from_proteins():
    assert looks_nucleotide("ACGTN" * 10)
    assert looks_nucleotide("ACGU" * 24 + "MKLW")
    assert not looks_nucleotide("ACGT" * 12)
    assert not looks_nucleotide("ACGT" * 20 + "MKLWVHDE" * 2)
