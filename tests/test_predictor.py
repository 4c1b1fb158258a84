"""The predictor: any input, any task, order kept, neighbours without influence, and a reason for all that gets no answer."""

import random
from dataclasses import replace

import numpy as np
import pandas
import pytest
import torch
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

import protscribe
from protscribe import inquiry, planning
from protscribe.checkpoint import save_bundle
from protscribe.codecs.protocol import Draws, First, Greedy, Inclusion, Readout
from protscribe.encoders import load_encoder
from protscribe.errors import ConfigError, DeviceError, ProtscribeError, TaskError
from protscribe.generation.answering import Asking
from protscribe.predictor import Predictor
from protscribe.records import Failure, Prediction, ProteinRecord
from tests.small import MINI, TASKS, make_bundle

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
SINGLE = [name for name, task in TASKS.items() if task.chains == 1 and not task.molecule and name != "allele"]


def proteins(count, seed=0, longest=40):
    draw = random.Random(seed)
    return ["".join(draw.choice(LETTERS) for _ in range(draw.randint(1, longest))) for _ in range(count)]


def records(count, seed=0):
    """Single chains, pairs and records with a molecule, in turn."""
    draw, made = random.Random(seed), []
    for place, chain in enumerate(proteins(count, seed)):
        chains = (chain, draw.choice(proteins(9, seed + 1))) if place % 3 == 1 else (chain,)
        molecule = draw.choice(["CCO", "c1ccccc1O"]) if place % 3 == 2 else None
        made.append(
            ProteinRecord(f"r{place}", chains, molecule, {"host": draw.choice(["human", "yeast"])}, place)
        )
    return made


@pytest.fixture(scope="module")
def predictor():
    return Predictor(make_bundle(), "cpu", Asking(draws=4))


class Limited(torch.nn.Module):
    """An encoder that was trained on ten residues."""

    def __init__(self):
        super().__init__()
        self.inner = load_encoder(MINI)
        self.kind, self.width, self.limit, self.seen = "mini", self.inner.width, 10, []

    def forward(self, residues_NL, mask_NL):
        self.seen.append(int(mask_NL.sum(1).max()))
        return self.inner(residues_NL, mask_NL)


def assert_same(one, other):
    assert (one.id, one.task, one.status, one.readout) == (other.id, other.task, other.status, other.readout)
    if one.kind == "number":
        assert one.value == pytest.approx(other.value, abs=1e-4)
        assert (one.lower, one.upper) == (other.lower, other.upper)
    else:
        assert one.value == other.value, (one.id, one.task)
    assert one.score == pytest.approx(other.score, abs=1e-5)
    assert one.off_grammar == pytest.approx(other.off_grammar, abs=1e-5)
    assert type(one.probabilities) is type(other.probabilities)
    if isinstance(one.probabilities, tuple):
        assert all(
            a == pytest.approx(b, abs=1e-5)
            for a, b in zip(one.probabilities, other.probabilities, strict=True)
        )
    elif one.probabilities is not None:
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_a_prediction_does_not_depend_on_its_neighbours(predictor):
    made = records(16)
    alone = {
        (prediction.id, prediction.task): prediction
        for record in made
        for prediction in predictor.predict_many([record])
    }
    assert {task for _, task in alone} == set(TASKS)
    for size in (2, 3, 5, 8, 16):
        shuffled = random.Random(size).sample(made, len(made))
        for start in range(0, len(made), size):
            together = predictor.predict_many(shuffled[start : start + size])
            assert not together.failures
            for prediction in together:
                assert_same(prediction, alone[prediction.id, prediction.task])


@pytest.mark.parametrize("batch_residues", [1, 64, 8192])
def test_a_prediction_does_not_depend_on_the_budget(predictor, batch_residues):
    made = records(9, seed=4)
    usual, other = predictor.predict_many(made), predictor.predict_many(made, batch_residues=batch_residues)
    for one, two in zip(usual, other, strict=True):
        assert_same(one, two)


def test_draws_follow_the_seed_and_the_protein_only():
    made, bundle = records(6), make_bundle()
    first, again, other = (
        Predictor(bundle, "cpu", Asking(draws=4, seed=seed)).predict_many(made, ["contacts", "sites"])
        for seed in (1, 1, 2)
    )
    assert [one.probabilities for one in first if one.task == "contacts"] == [
        one.probabilities for one in again if one.task == "contacts"
    ]
    assert any(
        not np.array_equal(one.probabilities, two.probabilities)
        for one, two in zip(first.of("sites"), other.of("sites"), strict=True)
    )


def test_answers_come_in_input_order_with_failures_in_between(predictor):
    made = records(30, seed=2)
    broken = Failure(3, "r3", "seq.char", "no residue")
    items = [broken if place == 3 else record for place, record in enumerate(made)]
    outcomes = list(predictor.stream(items, ["place", "fold"], batch_residues=128))
    told = [(outcome.id, outcome.task) for outcome in outcomes]
    assert told == [
        pair
        for item in items
        for pair in ([(item.id, None)] if item is broken else [(item.id, "place"), (item.id, "fold")])
    ]
    assert outcomes[6] is broken
    for outcome in outcomes:
        pair = int(outcome.id[1:]) % 3 == 1
        assert isinstance(outcome, Failure) == (pair or outcome is broken)


def test_a_protein_is_encoded_once_for_all_its_tasks():
    encoder = load_encoder(MINI)
    predictor = Predictor(make_bundle(encoder=encoder), "cpu", Asking(draws=2))
    seen = []
    encoder.register_forward_hook(lambda module, inputs, states: seen.append(len(states)))
    predictor.predict_many(["MKTAYIAK", "GSTGSTGST", "MKTAYIAK"], SINGLE)
    assert seen == [2]


def test_memory_is_bounded_by_a_chunk(predictor):
    read = []

    def endless():
        for place in range(10_000):
            read.append(place)
            yield ProteinRecord(f"r{place}", ("MKTAYIAKQR",), ordinal=place)

    outcomes = predictor.stream(endless(), ["place"], batch_residues=100)
    assert next(outcomes).id == "r0"
    assert len(read) <= planning.AHEAD * 100 / 10
    list(zip(range(500), outcomes, strict=False))
    assert len(read) < 10_000


# Input --------------------------------------------------------------------------------------------------------------------


def test_every_form_of_input_gives_the_same_answers(predictor, tmp_path):
    sequences = {"first": "MKTAYIAKQR", "second": "GSTGSTGSTY"}
    fasta = tmp_path / "two.fasta"
    fasta.write_text("".join(f">{id}\n{sequence}\n" for id, sequence in sequences.items()))
    frame = pandas.DataFrame({"id": sequences.keys(), "sequence": sequences.values()})
    forms = [
        sequences,
        frame,
        fasta,
        [SeqRecord(Seq(sequence), id=id) for id, sequence in sequences.items()],
        [ProteinRecord(id, (sequence,)) for id, sequence in sequences.items()],
        iter([ProteinRecord(id, (sequence,)) for id, sequence in sequences.items()]),
    ]
    expected = predictor.predict_many(sequences, SINGLE)
    assert len(expected) == 2 * len(SINGLE)
    for form in forms:
        found = predictor.predict_many(form, SINGLE)
        assert [one.value for one in found] == [one.value for one in expected]
        assert found.counts["records"] == 2
    unnamed = predictor.predict_many(list(sequences.values()), "fold")
    assert [one.id for one in unnamed] == ["1", "2"]
    assert predictor.predict("MKTAYIAKQR", "fold").value == unnamed[0].value


def test_by_default_every_task_that_fits_is_asked(predictor):
    record = ProteinRecord("one", ("MKTAY",), fields={"host": "human"})
    asked = {one.task for one in predictor.predict_many([record])}
    assert asked == {name for name, task in TASKS.items() if task.chains == 1 and not task.molecule}
    with_molecule = replace(record, molecule="CCO")
    assert {one.task for one in predictor.predict_many([with_molecule])} == asked | {"ligand", "pocket"}
    pair = replace(record, chains=("MKTAY", "GST"))
    assert {one.task for one in predictor.predict_many([pair])} == {
        n for n, task in TASKS.items() if task.chains == 2
    }


def test_conditions_and_molecules_by_keyword(predictor):
    human = predictor.predict("MKTAYIAK", "grows", host="human")
    yeast = predictor.predict("MKTAYIAK", "grows", host="yeast")
    assert human.probabilities != yeast.probabilities
    assert human.status == "ok"
    assert predictor.predict("MKTAYIAK", "grows", host="martian").status == "condition_unknown"
    assert predictor.predict("MKTAYIAK", "grows").status == "condition_unknown"
    small, large = (
        predictor.predict("MKTAYIAK", "ligand", smiles=smiles) for smiles in ("C", "c1ccccc1CCCCO")
    )
    assert small.probabilities != large.probabilities
    with pytest.raises(ConfigError, match="'host'"):
        predictor.predict("MKTAYIAK", "grows", hots="human")


def test_a_symmetric_pair_has_no_order(predictor):
    one, two = "MKTAYIAK", "GSTGSTYYYYSGTG"
    for task in ("bind", "strength"):
        assert predictor.predict((one, two), task).score == predictor.predict((two, one), task).score
    swapped = predictor.predict((two, one), "bind")
    assert swapped.record.chains == (two, one)


def test_a_readout_may_be_forced_and_its_threshold_is_that_of_the_bundle():
    sequence = {"a": "MSTYSTYSTYSTYSTYMSTY"}
    many, few = (
        Predictor(make_bundle(readouts={"sites": Readout(threshold=threshold)}), "cpu").predict_many(
            sequence, ["sites"]
        )[0]
        for threshold in (0.05, 0.9)
    )
    assert set(few.value) < set(many.value)
    assert many.readout == "risk"
    forced = Predictor(make_bundle(), "cpu").predict_many(sequence, ["sites", "place"], readout="greedy")
    assert {one.readout for one in forced} == {"greedy"}
    own = make_bundle(readouts={"sites": Readout(way="greedy")})
    assert Predictor(own, "cpu").predict_many(sequence, ["sites"])[0].readout == "greedy"


def test_evidence_comes_in_order_of_the_records(predictor):
    made = [ProteinRecord(str(place), (chain,)) for place, chain in enumerate(proteins(12, 3))]
    for task, kind in (("place", First), ("sites", Inclusion), ("contacts", Draws)):
        found = predictor.evidence(made, task, batch_residues=64)
        assert all(isinstance(answered.evidence, kind) for answered in found)
    for record, answered in zip(made, predictor.evidence(made, "place"), strict=True):
        (prediction,) = predictor.predict_many([record], ["place"])
        assert answered.evidence.probabilities == pytest.approx(
            list(prediction.probabilities.values()), abs=1e-5
        )
    assert isinstance(predictor.evidence(made[:1], "sites", "greedy")[0].evidence, Greedy)
    with pytest.raises(TaskError, match="two chains"):
        predictor.evidence(made, "bind")


# What gets no answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "task", "code"),
    [
        (ProteinRecord("a", ("MKT",)), "bind", "task.chains"),
        (ProteinRecord("a", ("MKT", "MKT")), "place", "task.chains"),
        (ProteinRecord("a", ("MKT",)), "ligand", "task.molecule"),
        (ProteinRecord("a", ("MKT",)), "allele", "record.condition"),
        (ProteinRecord("a", ("MKT",), fields={"host": "martian"}), "allele", "record.condition"),
        (ProteinRecord("a", ("MK1",)), "place", "seq.char"),
    ],
)
def test_what_a_task_cannot_use_is_a_failure_or_an_error(predictor, record, task, code):
    fine = ProteinRecord(
        "b", ("MKTAY", "GST") if TASKS[task].chains == 2 else ("MKTAY",), "CCO", {"host": "human"}
    )
    found = predictor.predict_many([record, fine], [task])
    assert [one.id for one in found] == ["b"]
    (failure,) = found.failures
    assert (failure.id, failure.ordinal, failure.code) == ("a", 0, code)
    assert "'a'" in failure.detail
    for ask in (
        lambda: predictor.predict_many([record, fine], [task], on_error="raise"),
        lambda: predictor.predict(record, task),
    ):
        with pytest.raises(ProtscribeError) as raised:
            ask()
        assert raised.value.code == code


def test_a_record_that_no_task_fits_fails_once():
    predictor = Predictor(make_bundle({"bind": TASKS["bind"], "strength": TASKS["strength"]}), "cpu")
    found = predictor.predict_many({"a": "MKT", "b": ("MKT", "GST")})
    assert [(one.id, one.task, one.code) for one in found.failures] == [("a", None, "task.chains")]
    assert [(one.id, one.task) for one in found] == [("b", "bind"), ("b", "strength")]


def test_unknown_names_are_errors_with_the_nearest(predictor):
    for ask in (
        lambda: predictor.predict("MKT", "plaice"),
        lambda: predictor.predict_many(["MKT"], ["plaice"]),
    ):
        with pytest.raises(TaskError, match="did you mean 'place'") as raised:
            ask()
        assert raised.value.code == "task.unknown"
    assert "plaice" not in predictor.tasks
    with pytest.raises(DeviceError) as missing:
        Predictor(make_bundle(), "cuda:99")
    assert missing.value.code == "device.missing"
    for wrong in ({"batch_residues": 0}, {"readout": "beam"}, {"on_error": "ignore"}, {"long": "cut"}):
        with pytest.raises(ConfigError):
            predictor.predict_many(["MKT"], ["place"], **{"on_error": "raise", **wrong})


def test_long_proteins_are_never_cut_in_silence():
    encoder = Limited()
    bundle = make_bundle({name: TASKS[name] for name in ("fold", "sites")}, encoder)
    predictor = Predictor(bundle, "cpu", Asking(draws=2))
    inputs = {"short": "MSTYMSTYMS", "long": "MSTY" * 6}

    refused = predictor.predict_many(inputs)
    assert [one.id for one in refused] == ["short", "short"]
    assert {(one.id, one.code, one.task) for one in refused.failures} == {
        ("long", "seq.too_long", "fold"), ("long", "seq.too_long", "sites"),
    }  # fmt: skip

    cut = predictor.predict_many(inputs, long="truncate")
    assert [one.status for one in cut] == ["ok", "ok", "truncated", "truncated"]
    fold = cut[2]
    assert len(fold.value) == 10
    assert fold.record.original_lengths == (24,)
    assert list(cut.to_frame()["residues_given"]) == ["10", "10", "24", "24"]

    encoder.seen.clear()
    windowed = predictor.predict_many(inputs, long="window")
    assert max(encoder.seen) == 10
    assert len(windowed[2].value) == 24
    encoder.seen.clear()
    full = predictor.predict_many(inputs, long="full")
    assert max(encoder.seen) == 24
    assert len(full[2].value) == 24
    for one, two, three in zip(windowed[:2], full[:2], refused, strict=True):
        assert one.value == two.value == three.value


class Scarce:
    """Has memory for so many residues at once; counts how often each record is tried."""

    def __init__(self, residues, error):
        self.residues, self.error, self.tries = residues, error, {}
        self.answer = inquiry.answer

    def __call__(self, model, lexicon, batch, **options):
        for id in {question.record.id for question in batch.questions}:
            self.tries[id] = self.tries.get(id, 0) + 1
        if int(batch.residue_mask_NL.sum()) > self.residues:
            raise self.error
        return self.answer(model, lexicon, batch, **options)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")]
)
def test_out_of_memory_halves_the_batch(predictor, monkeypatch, error):
    made = [
        ProteinRecord(str(place), ("MKTAYIAKQR"[place:] + "MKTAYIAKQR"[:place],), ordinal=place)
        for place in range(10)
    ]
    made[6] = replace(made[6], chains=("MKTAYIAKQR" * 3,))
    usual = predictor.predict_many(made, ["place", "sites"])
    scarce = Scarce(25, error)
    monkeypatch.setattr(inquiry, "answer", scarce)
    found = predictor.predict_many(made, ["place", "sites"])
    assert [(one.id, one.task, one.code) for one in found.failures] == [
        ("6", "place", "device.oom"), ("6", "sites", "device.oom"),
    ]  # fmt: skip
    kept = [one for one in usual if one.id != "6"]
    for one, two in zip(kept, found, strict=True):
        assert_same(one, two)
    # Halved from ten records to one, and for the one that never fits its two questions apart.
    assert max(count for id, count in scarce.tries.items() if id != "6") <= 5
    with pytest.raises(DeviceError, match="does not fit into memory"):
        predictor.predict_many(made, ["place"], on_error="raise")


def test_other_errors_of_the_network_are_bugs_and_stay_so(predictor, monkeypatch):
    monkeypatch.setattr(
        inquiry, "answer", Scarce(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    )
    with pytest.raises(RuntimeError, match="mat1"):
        predictor.predict_many(["MKT"], ["place"])


def test_scores_that_are_not_finite_are_no_answer():
    bundle = make_bundle()
    with torch.no_grad():
        bundle.model.decoder.table.weight.fill_(float("nan"))
    found = Predictor(bundle, "cpu", Asking(draws=2)).predict_many({"a": "MSTYMSTY"}, SINGLE)
    assert not len(found)
    assert [one.task for one in found.failures] == SINGLE
    assert {one.code for one in found.failures} == {"predict.not_finite"}


# What people see ----------------------------------------------------------------------------------------------------------


def test_load_finds_the_same_model_again(predictor, tmp_path):
    bundle = predictor.bundle
    save_bundle(
        tmp_path / "b",
        model=bundle.model,
        lexicon=bundle.lexicon,
        tasks=bundle.tasks,
        readouts=bundle.readouts,
    )
    loaded = protscribe.load(str(tmp_path / "b"), device="cpu", asking=Asking(draws=4))
    for one, two in zip(loaded.predict_many(records(6)), predictor.predict_many(records(6)), strict=True):
        assert_same(one, two)
    with pytest.raises(ProtscribeError) as missing:
        protscribe.load(str(tmp_path / "nothing"))
    assert missing.value.code == "checkpoint.not_found"


def test_tasks_read_as_a_table(predictor):
    assert dict(predictor.tasks) == dict(TASKS)
    lines = repr(predictor.tasks).splitlines()
    assert len(lines) == len(TASKS)
    assert "grows" in lines[1]
    assert "host" in lines[1]
    assert "the &lt;b&gt;" not in predictor.tasks._repr_html_()
    assert predictor._repr_html_().count("<tr>") == len(TASKS) + 1
    assert "cpu" in repr(predictor)


def test_predictions_are_typed(predictor):
    found = predictor.predict_many({"a": "MSTYKLMNSTYC"}, SINGLE)
    assert all(isinstance(one, Prediction) for one in found)
    values = {one.task: one for one in found}
    assert values["melting"].unit == "°C"
    assert 0 <= values["melting"].lower <= values["melting"].value <= values["melting"].upper <= 90.5
    assert len(values["fold"].value) == len(values["letters"].value) == 12
    assert sum(values["place"].probabilities.values()) == pytest.approx(1)
    assert all("MSTYKLMNSTYC"[position - 1] in "STY" for position in values["sites"].value)
    assert values["parts"].value[-1].end == 12
    chains = {"fold": 1, "sites": 1, "parts": 1, "spans": 1, "contacts": 1, "letters": 1}
    assert {name: one.chain for name, one in values.items() if one.chain} == chains
    pair = {one.task: one.chain for one in predictor.predict_many({"a": ("MKTAY", "GSTGST")})}
    assert pair == {"bind": None, "strength": None, "epitope": 2, "interface": 2}


def test_equal_proteins_are_encoded_once_and_answered_alike(predictor, monkeypatch):
    one, two = records(2, seed=9)
    tasks = [name for name in predictor.tasks if predictor.tasks[name].chains == 1][:3]
    sequences = [one.sequence, two.sequence, one.sequence, one.sequence]
    encoded = []
    encoder = predictor._model.encoder
    forward = encoder.forward

    def counting(residues_NL, mask_NL):
        encoded.append(len(residues_NL))
        return forward(residues_NL, mask_NL)

    monkeypatch.setattr(encoder, "forward", counting)
    answers = predictor.predict_many(sequences, tasks)
    assert sum(encoded) == 2
    assert [answer.id for answer in answers] == [id for id in "1234" for _ in tasks]
    for place, name in enumerate(tasks):
        same = [answers[place + len(tasks) * row].value for row in (0, 2, 3)]
        assert same[0] == same[1] == same[2], name
