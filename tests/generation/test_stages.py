"""A model that was grown by symbols alone: every old answer, and all that is told with it, is the same to the last bit."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from protscribe.checkpoint import Bundle, load_bundle, save_bundle
from protscribe.codecs.protocol import Readout
from protscribe.data.lexicon import Lexicon, position_block
from protscribe.encoders import load_encoder
from protscribe.errors import LabelError
from protscribe.generation.answering import Asking
from protscribe.generation.settings import Beam, Sample
from protscribe.nn.decoder import Decoder
from protscribe.nn.growth import append_symbols
from protscribe.nn.model import Scribe
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from protscribe.vocabulary import Block, Vocabulary
from tests.small import MINI, TASKS, make_bundle, task

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
HOST = {"field": "host", "values": ["yeast", "archaeon", "bacterium"]}
FIRST = {
    one.name: one
    for one in (
        task("stable", kind="category", labels=["no", "somewhat", "yes"], conditions=[HOST]),
        task("helix", kind="residue_labels", labels=list("HXYZ")),
    )
}
SECOND = {one.name: one for one in (task("partner", chains=2, kind="residue_set", chain=2),)}
RECORDS = [
    ProteinRecord("a", (LETTERS * 2,), None, {"host": "human"}, 0),
    ProteinRecord("b", (LETTERS[4:17],), None, {}, 1),
    ProteinRecord("c", (LETTERS[::-1], LETTERS[3:]), None, {"host": "yeast"}, 2),
    ProteinRecord("d", (LETTERS[2:19],), "CCO", {"host": "yeast"}, 3),
]
SINGLE = [name for name, one in TASKS.items() if one.chains == 1 and not one.molecule]
ASKING = Asking(draws=4)


def grow(bundle: Bundle, tasks, *, staged=True, loud=False) -> Bundle:
    """The bundle after a training that changed nothing but new symbols' rows; ``loud`` ones outshine all others."""
    lexicon = bundle.lexicon.extend(
        (block for one in tasks.values() for block in one.blocks()), staged=staged
    )
    known = len(bundle.lexicon.vocabulary)
    append_symbols(bundle.model.decoder, lexicon.vocabulary.symbols[known:], seed=3)
    if loud:
        with torch.no_grad():
            bundle.model.decoder.score.weight[known:] *= 30
    readouts = {**bundle.readouts, **{name: Readout() for name in tasks}}
    return Bundle(bundle.model, lexicon, {**bundle.tasks, **tasks}, readouts, {})


def same(first, second) -> bool:
    """Equal to the last bit, whatever they are made of."""
    if dataclasses.is_dataclass(first):
        fields = dataclasses.fields(first)
        return type(first) is type(second) and all(
            same(getattr(first, field.name), getattr(second, field.name)) for field in fields
        )
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and first.tobytes() == second.tobytes()
    if isinstance(first, Mapping):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (tuple, list)):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float):
        return np.float64(first).tobytes() == np.float64(second).tobytes()
    return first == second


def everything(predictor: Predictor):
    """All ways to ask old tasks, each old task alone and all of them together."""
    yield predictor.predict_many(RECORDS, list(TASKS), probabilities=True)
    for readout in ("risk", "greedy"):
        yield predictor.predict_many(RECORDS[:2], SINGLE, readout=readout, probabilities=True)
    for name in SINGLE:
        yield predictor.predict_many(RECORDS[:2], name)
        yield predictor.n_best_many(RECORDS[:2], name, n=3)
        yield predictor.n_best_many(RECORDS[:2], name, n=3, search=Sample(draws=6))
        yield predictor.n_best_many(RECORDS[:2], name, n=4, search=Beam(groups=2))
    yield predictor.predict_many(RECORDS[:2], "place", candidates=["membrane", "inside"])
    yield predictor.predict_many(RECORDS[:2], "enzyme", prefix="1.1")


@pytest.fixture(scope="module")
def before():
    return list(everything(Predictor(make_bundle(), "cpu", ASKING)))


def test_old_answers_stay_to_the_last_bit_however_often_it_grows(before, tmp_path):
    grown = grow(grow(make_bundle(), FIRST, loud=True), SECOND)
    assert len(grown.lexicon.stages) == 2
    save_bundle(
        tmp_path / "b", model=grown.model, lexicon=grown.lexicon, tasks=grown.tasks, readouts=grown.readouts
    )
    loaded = load_bundle(tmp_path / "b")
    assert loaded.lexicon == grown.lexicon
    after = list(everything(Predictor(loaded, "cpu", ASKING)))
    assert len(before) == len(after)
    assert all(len(one) > 0 for one in before)
    for first, second in zip(before, after, strict=True):
        for old, new in zip(first, second, strict=True):
            assert same(old, new), (old.task, old.id)


def test_without_stages_the_test_above_would_fail(before):
    """What was forbidden before is not all that is forbidden now, and sums run over more."""
    predictor = Predictor(grow(make_bundle(), FIRST, staged=False), "cpu", ASKING)
    unstaged = next(everything(predictor))
    assert all(
        old.value == new.value for old, new in zip(before[0], unstaged, strict=True) if old.kind == "category"
    )
    assert not any(same(old, new) for old, new in zip(before[0], unstaged, strict=True))
    # It is not off-grammar mass alone: the same probabilities, summed in another order, are others in their last bits.
    kept = [
        [dataclasses.replace(one, off_grammar=None) for one in answers] for answers in (before[0], unstaged)
    ]
    assert not all(same(old, new) for old, new in zip(*kept, strict=True))


def test_asked_together_with_new_tasks_old_answers_are_the_same_answers():
    """Other neighbours in a pass may move the last bits, as they may between old tasks; no answer, and no probability beyond
    rounding."""
    old = Predictor(make_bundle(), "cpu", ASKING).predict_many(RECORDS[:2], SINGLE)
    grown = Predictor(grow(make_bundle(), FIRST, loud=True), "cpu", ASKING)
    new = grown.predict_many(RECORDS[:2], [*SINGLE, *FIRST])
    found = {(one.id, one.task): one for one in new}
    assert {task for _, task in found} == {*SINGLE, *FIRST}
    for one in old:
        other = found[one.id, one.task]
        assert other.score == pytest.approx(one.score, abs=1e-5)
        if one.kind != "number":
            assert other.value == one.value


def test_position_tokens_of_longer_proteins_belong_to_new_tasks_alone():
    tasks = {name: TASKS[name] for name in ("sites", "parts")}

    def made():
        blocks = [block for one in tasks.values() for block in one.blocks()]
        lexicon = Lexicon(Vocabulary.compose([*blocks, position_block(25)]), "tokens")
        torch.manual_seed(0)
        encoder = load_encoder(MINI)
        decoder = Decoder(len(lexicon.vocabulary), encoder.width, width=16, layers=1, heads=2, pointers=False)
        return Bundle(
            Scribe(encoder, decoder).eval(), lexicon, tasks, {name: Readout() for name in tasks}, {}
        )

    old, grown = made(), made()
    lexicon = grown.lexicon.extend([Block("task", ("new",)), position_block(60)], staged=True)
    append_symbols(grown.model.decoder, lexicon.vocabulary.symbols[len(grown.lexicon.vocabulary) :], seed=0)
    grown = dataclasses.replace(grown, lexicon=lexicon)
    chains = {"short": LETTERS, "long": LETTERS * 2}
    found = [
        Predictor(one, "cpu", ASKING).predict_many({"short": LETTERS}, list(tasks)) for one in (old, grown)
    ]
    assert all(same(one, two) for one, two in zip(*found, strict=True))
    for one in (old, grown):
        with pytest.raises(LabelError, match="beyond the last position token"):
            Predictor(one, "cpu", ASKING).predict_many(chains, "sites")


def test_a_stage_shares_its_weights_with_the_whole():
    decoder = grow(make_bundle(), FIRST).model.decoder
    whole = decoder.vocabulary
    earlier = decoder.at_stage(whole - 3)
    assert decoder.at_stage(whole) is decoder
    assert (earlier.vocabulary, decoder.vocabulary) == (whole - 3, whole)
    assert earlier.score.weight.data_ptr() == decoder.score.weight.data_ptr()
    assert earlier.layers is decoder.layers
    assert decoder.score.weight.shape[0] == whole
    assert earlier.score.weight.shape[0] == whole - 3
    assert (
        sum(weight.numel() for weight in decoder.parameters())
        == sum(weight.numel() for weight in earlier.parameters()) + 3 * decoder.width
    )


def test_a_compiled_decoder_answers_old_tasks_at_their_stage():
    """Compiled code belongs to the whole decoder: a stage must not run it, since pointers have other numbers there."""
    decoder = grow(make_bundle(), FIRST).model.decoder
    decoder.compile(dynamic=True)
    assert decoder._compiled_call_impl is not None
    assert decoder.at_stage(decoder.vocabulary - 3)._compiled_call_impl is None
