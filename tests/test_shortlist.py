"""Alternatives, candidates and given beginnings, as a user asks for them: over all kinds of task of a small bundle."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pandas
import pytest

from protscribe import inquiry
from protscribe.alternatives import Alternative, Alternatives
from protscribe.codecs import KINDS
from protscribe.codecs.protocol import Readout
from protscribe.errors import ConfigError, LabelError, OutputError, TrainingError
from protscribe.generation.answering import Asking
from protscribe.generation.settings import Beam, Sample
from protscribe.grammar import accepts
from protscribe.outputs import predict_file
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from tests.laws.walks import every_answer
from tests.small import TASKS, make_bundle

SEQUENCE = "MKTAYISSYTAK"
RECORD = ProteinRecord("a", (SEQUENCE,), fields={"host": "human"})
PAIR = ProteinRecord("b", (SEQUENCE, "GSGSGYY"))
LIGAND = ProteinRecord("c", (SEQUENCE,), molecule="CCO")


def record_of(task):
    return PAIR if task.chains == 2 else LIGAND if task.molecule else RECORD


@pytest.fixture(scope="module")
def predictor():
    return Predictor(make_bundle(), "cpu", Asking(draws=4))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    "search", [None, Beam(4, 2, 1.0), Sample(0.8, seed=2, draws=6)], ids=["usual", "diverse", "sample"]
)
def test_every_alternative_is_an_answer_and_probabilities_sum_to_at_most_one(predictor, name, search):
    task = TASKS[name]
    record = record_of(task)
    found = predictor.n_best(record, name, 4, search=search)
    codec, arranged = task.codec, task.arrange(record)
    assert 1 <= len(found) <= 4
    assert len({one.text for one in found}) == len(found)
    for one in found:
        tokens = codec.encode(one.value, arranged).tokens
        assert accepts(codec.grammar(arranged), tokens)
        assert codec.decode(tokens, arranged) == one.value
        # The text is what a table's cell would hold.
        if getattr(codec, "values", ()) == ():
            assert codec.canonical(codec.parse(one.text, arranged), arranged) == one.value
        assert one.probability == pytest.approx(math.exp(one.log_probability))
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found.mass <= 1 + 1e-6
    assert [one.value for one in predictor.n_best(record, name, 4, search=search)] == [
        one.value for one in found
    ]


@pytest.mark.parametrize("name", ["place", "enzyme", "activities", "strength", "bind"])
def test_all_answers_are_found_where_there_are_few_and_candidates_agree(predictor, name):
    task = TASKS[name]
    record = record_of(task)
    arranged = task.arrange(record)
    everything = [
        task.codec.decode(tokens, arranged) for tokens in every_answer(task.codec.grammar(arranged))
    ]
    found = predictor.n_best(record, name, len(everything))
    assert found.mass == pytest.approx(1, abs=1e-5)
    chosen = predictor.predict(record, name, candidates=everything)
    assert chosen.readout == "candidates"
    assert chosen.value == found[0].value
    assert [one.value for one in chosen.alternatives] == [one.value for one in found]
    assert [one.log_probability for one in chosen.alternatives] == pytest.approx(
        [one.log_probability for one in found], abs=1e-4
    )
    assert sum(chosen.probabilities.values()) == pytest.approx(1)
    # Shares among two are renormalised, absolute probabilities stay.
    two = predictor.predict(record, name, candidates=everything[:2])
    assert sum(two.probabilities.values()) == pytest.approx(1)
    assert two.score == max(two.probabilities.values())
    whole = {one.text: one.probability for one in found}
    assert {one.text: one.probability for one in two.alternatives} == pytest.approx(
        {text: whole[text] for text in two.probabilities}, abs=1e-5
    )


PREFIXES = {
    "place": ("membrane", lambda value: value == "membrane"),
    "activities": ("p;r", lambda value: value[:2] == ("p", "r")),
    "enzyme": ("2", lambda value: value[0].startswith("2")),
    "melting": ("12", lambda value: 12 <= value < 13 or 120 <= value * 10 < 130),
    "fold": ("HHHEE", lambda value: value.startswith("HHHEE")),
    "sites": ([3, 8], lambda value: value[:2] == (3, 8)),
    "parts": ("mature:1-4", lambda value: value[0] == ("mature", 1, 4)),
    "contacts": ([(2, 9)], lambda value: value[0] == (2, 9)),
    "name": ("zy", lambda value: value.startswith("zy")),
}


def test_every_kind_has_a_beginning_here():
    assert {TASKS[name].codec.kind for name in PREFIXES} == set(KINDS)


@pytest.mark.parametrize("name", PREFIXES)
def test_answers_begin_as_they_must(predictor, name):
    prefix, fits = PREFIXES[name]
    usual = predictor.predict(RECORD, name, prefix=prefix)
    assert fits(usual.value)
    assert usual.readout == "greedy"
    assert "given its prefix" in usual.score_meaning
    assert usual.alternatives == ()
    for search in (None, Sample(seed=1)):
        found = predictor.n_best(RECORD, name, 3, search=search, prefix=prefix)
        assert all(fits(one.value) for one in found)
    # Given the prefix, what is not given has the probability it has anyway: p(prefix) is the same for all.
    first, *others = predictor.n_best(RECORD, name, 3, prefix=prefix)
    scored = predictor.predict(RECORD, name, candidates=[one.value for one in (first, *others)])
    absolute = {one.text: one.log_probability for one in scored.alternatives}
    for other in others:
        assert other.log_probability - first.log_probability == pytest.approx(
            absolute[other.text] - absolute[first.text], abs=1e-3
        )


def test_a_beginning_of_no_length_is_greedy(predictor):
    greedy = predictor.predict(RECORD, "fold", readout="greedy")
    same = predictor.predict(RECORD, "fold", prefix="")
    assert (same.value, same.score) == (greedy.value, pytest.approx(greedy.score, rel=1e-3))


def test_candidates_are_written_as_cells_labels_or_answers():
    bundle = make_bundle({"place": replace(TASKS["place"])})
    codec = replace(TASKS["place"].codec, values=("0", "1", "2"))
    bundle.tasks["place"] = replace(TASKS["place"], codec=codec)
    predictor = Predictor(bundle, "cpu")
    for candidates in (["inside", "membrane"], ["0", "2"], [0, "membrane"], ["0", "membrane", "inside"]):
        found = predictor.predict(SEQUENCE, "place", candidates=candidates)
        assert set(found.probabilities) == {"inside", "membrane"}
    with pytest.raises(ConfigError, match="did you mean 'membrane'"):
        predictor.predict(SEQUENCE, "place", candidates=["membrain"])


def test_candidates_may_differ_between_records(predictor):
    given = {"1": [[3], [7, 8]], "2": ["1"]}
    found = predictor.predict_many({"1": SEQUENCE, "2": "SSS", "3": "YYY"}, "sites", candidates=given)
    assert [set(one.probabilities) for one in found] == [{"3", "7;8"}, {"1"}]
    assert found[1].score == 1
    (failure,) = found.failures
    assert (failure.id, failure.code) == ("3", "label.candidates")
    # Equal proteins are asked about once, but not about different candidates.
    found = predictor.predict_many(
        {"1": "SSS", "2": "SSS"}, "sites", candidates={"1": ["1"], "2": ["2", "3"]}
    )
    assert [set(one.probabilities) for one in found] == [{"1"}, {"2", "3"}]


def test_what_does_not_fit_one_record_is_its_own_failure(predictor):
    proteins = {"long": SEQUENCE, "short": "MST"}
    found = predictor.predict_many(proteins, "sites", candidates=["8", "3"])
    assert [one.id for one in found] == ["long"]
    assert [(one.id, one.code) for one in found.failures] == [("short", "label.index")]
    found = predictor.n_best_many(proteins, "sites", 2, prefix=[8])
    assert [one.id for one in found] == ["long"]
    assert [(one.id, one.code, one.task) for one in found.failures] == [("short", "label.prefix", "sites")]
    with pytest.raises(LabelError, match="positions 2 to 3"):
        predictor.predict("MST", "sites", prefix=[8])
    with pytest.raises(LabelError, match="every residue"):
        predictor.predict("MST", "fold", candidates=["H-H"])


SINGLE = [name for name, task in TASKS.items() if task.chains == 1 and not task.molecule and name != "allele"]


def test_many_records_keep_order_failures_and_do_not_depend_on_neighbours(predictor):
    draw = random.Random(0)
    made = [
        ProteinRecord(
            f"r{place}",
            ("".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=draw.randint(1, 30))),),
            None,
            {},
            place,
        )
        for place in range(9)
    ]
    for search in (Beam(3), Sample(seed=4)):
        together = predictor.n_best_many(made, SINGLE, 3, search=search)
        assert [(one.id, one.task) for one in together] == [
            (record.id, name) for record in made for name in SINGLE
        ]
        small = predictor.n_best_many(made, SINGLE, 3, search=search, batch_residues=32)
        for one, other in zip(together, small, strict=True):
            assert [a.text for a in one.alternatives] == [a.text for a in other.alternatives]
            assert one.value == one.alternatives[0].value
            assert one.readout == search.name
        place = draw.randrange(9)
        alone = predictor.n_best(made[place], "fold", 3, search=search)
        (same,) = [one for one in together.of("fold") if one.id == f"r{place}"]
        assert [a.text for a in alone] == [a.text for a in same.alternatives]
    outcomes = predictor.n_best_many([made[0], PAIR, made[2]], "fold", 2)
    assert [one.id for one in outcomes] == ["r0", "r2"]
    assert [one.id for one in outcomes.failures] == ["b"]


def test_memory_that_does_not_suffice_halves_the_batch(predictor, monkeypatch):
    from protscribe import shortlist

    sizes = []
    true_search = shortlist.search_answers

    def search(model, lexicon, batch, *rest):
        sizes.append(len(batch.questions))
        if len(batch.questions) > 2:
            raise RuntimeError("can't allocate memory: you tried to allocate 9 bytes")
        return true_search(model, lexicon, batch, *rest)

    monkeypatch.setattr(shortlist, "search_answers", search)
    found = predictor.n_best_many([SEQUENCE[place:] for place in range(5)], "fold", 2)
    assert len(found) == 5
    assert not found.failures
    assert max(sizes) == 5
    assert sizes.count(2) + sizes.count(1) >= 3


def test_scores_that_are_not_finite_are_no_alternatives():
    bundle = make_bundle()
    with np.errstate(all="ignore"):
        bundle.model.decoder.score.weight.data.fill_(math.nan)
        with pytest.raises(TrainingError, match="not finite"):
            Predictor(bundle, "cpu").n_best(SEQUENCE, "place", 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda p: p.n_best(SEQUENCE, "fold", 0), "1 or more"),
        (lambda p: p.n_best(SEQUENCE, "fold", 2.5), "whole number"),
        (lambda p: p.predict(SEQUENCE, "fold", candidates=[]), "at least one"),
        (lambda p: p.predict(SEQUENCE, "fold", candidates="HHH"), "must be a list"),
        (lambda p: p.predict(SEQUENCE, "fold", candidates=["H"], prefix="H"), "neither"),
        (lambda p: p.predict(SEQUENCE, "fold", prefix="H", readout="risk"), "leave one out"),
        (lambda p: p.predict(SEQUENCE, "fold", prefix="H", probabilities=True), "usual answers"),
        (lambda p: p.predict_many([SEQUENCE], ["fold", "place"], prefix="H"), "one task"),
        (lambda p: p.predict_many([SEQUENCE], candidates=["H"]), "one task"),
        (lambda p: p.predict(SEQUENCE, "enzyme", prefix="7"), "allowed: 1, 2"),
        (lambda p: p.predict(SEQUENCE, "melting", candidates=[1.5, 300]), "outside the declared range"),
    ],
)
def test_wishes_that_do_not_go_together_are_errors(predictor, call, said):
    with pytest.raises(ConfigError, match=said) as caught:
        call(predictor)
    assert caught.value.code in ("config.value", "config.type")


# Probabilities of usual answers


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("readout", ["risk", "greedy"])
def test_every_kind_has_the_probabilities_people_need(predictor, name, readout):
    task, kind = TASKS[name], TASKS[name].codec.kind
    record = record_of(task)
    found = predictor.predict(record, name, readout=readout, probabilities=True)
    plain = predictor.predict(record, name, readout=readout)
    assert (found.value, found.readout) == (plain.value, plain.readout)
    assert found.score == pytest.approx(plain.score, rel=1e-3)
    chances, length = found.probabilities, record.lengths[(found.chain or 1) - 1]
    match kind:
        case "category":
            assert list(chances) == list(task.codec.labels)
            assert sum(chances.values()) == pytest.approx(1)
        case "category_set":
            assert list(chances) == list(task.codec.labels)
        case "category_path":
            assert list(chances) == ["1", "1.1", "1.1.1", "1.1.2", "2", "2.1", "2.1.1"]
            assert chances["1"] >= chances["1.1"] >= chances["1.1.2"]
        case "number":
            assert sum(bin.probability for bin in chances) == pytest.approx(1)
            lows, highs = [bin.low for bin in chances], [bin.high for bin in chances]
            assert lows == sorted(lows)
            assert all(low <= high for low, high in zip(lows, highs, strict=True))
            assert list(found.quantiles) == [0.05, 0.25, 0.5, 0.75, 0.95]
            assert list(found.quantiles.values()) == sorted(found.quantiles.values())
            inside = sum(bin.probability for bin in chances if bin.low <= found.quantiles[0.5])
            assert inside >= 0.5 - 1e-6
        case "residue_labels" | "segments":
            assert len(chances) == length
            assert all(sum(row.values()) == pytest.approx(1) for row in chances)
        case "residue_set":
            assert len(chances) == length
        case "residue_pairs":
            assert all(0 < chance <= 1 for chance in chances.values())
        case "sequence":
            assert len(chances) == len(found.value)
    drawn = TASKS[name].codec.asks == "draws" or (
        kind in ("residue_set", "category_set", "category_path") and found.draws is not None
    )
    if not drawn:
        assert found.draws is None
        assert found.standard_error is None
        return
    assert found.draws == 4
    assert np.shape(flat(found.standard_error)) == np.shape(flat(chances))
    assert all(0 <= error <= 1 for error in flat(found.standard_error))


def flat(values):
    """Numbers of probabilities in any of their forms."""
    if isinstance(values, dict):
        return [number for value in values.values() for number in flat(value)]
    if isinstance(values, (tuple, list, np.ndarray)):
        return [number for value in values for number in flat(value)]
    return [float(values)]


def test_small_sets_are_exact_and_large_ones_say_from_how_many_draws():
    bundle = make_bundle()
    few, many = (
        Predictor(bundle, "cpu", Asking(draws=draws, exact="never")).predict(SEQUENCE, "activities")
        for draws in (10, 1000)
    )
    exact = Predictor(bundle, "cpu").predict(SEQUENCE, "activities")
    assert (exact.draws, exact.standard_error) == (None, None)
    assert (few.draws, many.draws) == (10, 1000)
    for label, chance in exact.probabilities.items():
        assert many.probabilities[label] == pytest.approx(chance, abs=5 * many.standard_error[label] + 1e-3)


def test_greedy_probabilities_are_those_of_the_risk_readout():
    bundle = make_bundle(readouts={name: Readout(way="greedy") for name in TASKS})
    greedy = Predictor(bundle, "cpu").predict(SEQUENCE, "fold", probabilities=True)
    risk = Predictor(bundle, "cpu").predict(SEQUENCE, "fold", readout="risk")
    assert greedy.readout == "greedy"
    for one, other in zip(greedy.probabilities, risk.probabilities, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert Predictor(bundle, "cpu").predict(SEQUENCE, "fold").probabilities is None


def test_probabilities_beside_greedy_answers_encode_once(predictor):
    seen = []
    handle = predictor.bundle.model.encoder.register_forward_hook(lambda m, i, o: seen.append(len(o)))
    predictor.predict_many([SEQUENCE, "MST"], SINGLE, readout="greedy", probabilities=True)
    handle.remove()
    assert seen == [2]


# Shown and written


def test_alternatives_show_themselves():
    made = Alternatives(
        [
            Alternative.of("H" * 200, math.log(0.5), -0.69, "H" * 200),
            Alternative.of("<b>", math.log(0.25), -1.4, "<b>"),
        ]
    )
    text, shown = repr(made), made._repr_html_()
    assert "(200 characters)" in text
    assert "0.75 of the probability" in text
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    frame = made.to_frame()
    assert list(frame.columns) == ["rank", "value", "probability", "log_probability", "score"]
    assert frame["rank"].tolist() == [1, 2]
    assert repr(made[1]).startswith("<<b>, probability 0.25")
    assert "(empty)" in repr(Alternatives([Alternative.of("", -1.0, -1.0, "")]))
    assert repr(Alternatives()) != ""


def test_alternatives_are_rows_of_tables_and_json_lines(predictor, tmp_path):
    found = predictor.n_best_many({"p": SEQUENCE, "q": "MST"}, ["fold", "enzyme"], 3)
    frame = found.to_frame()
    assert frame["rank"].tolist() == [1, 2, 3] * 4
    for suffix in ("csv", "tsv", "parquet", "jsonl"):
        found.write(tmp_path / f"a.{suffix}")
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [(row["id"], row["task"], row["rank"]) for row in rows] == [
        (id, name, rank) for id in "pq" for name in ("fold", "enzyme") for rank in (1, 2, 3)
    ]
    assert all(row["score"] == pytest.approx(math.exp(row["log_probability"]), rel=1e-5) for row in rows)
    table = pandas.read_csv(tmp_path / "a.csv")
    assert table["rank"].tolist() == frame["rank"].tolist()
    assert table["prediction"].tolist()[:3] == [one.text for one in found[0].alternatives]
    parquet = pandas.read_parquet(tmp_path / "a.parquet")
    assert parquet["rank"].tolist() == frame["rank"].tolist()
    assert parquet["log_probability"].tolist() == pytest.approx(frame["log_probability"].tolist())
    with pytest.raises(OutputError, match="one answer a task") as caught:
        found.write(tmp_path / "a.gff3")
    assert caught.value.code == "output.format"
    assert not (tmp_path / "a.gff3").exists()


def test_candidates_keep_one_row_and_their_absolute_probabilities(predictor, tmp_path):
    found = predictor.predict_many([SEQUENCE], "enzyme", candidates=["1.1.1", "2.1.1", "1.1.1;2.1.1"])
    found.write(tmp_path / "a.jsonl")
    (row,) = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert "rank" not in row
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert set(row["log_probabilities"]) == set(row["probabilities"]) == {"1.1.1", "2.1.1", "1.1.1;2.1.1"}


def test_json_lines_hold_bins_quantiles_draws_and_errors(predictor, tmp_path):
    found = predictor.predict_many([SEQUENCE], ["melting", "parts", "contacts", "sites"])
    found.write(tmp_path / "a.jsonl")
    rows = {row["task"]: row for row in map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())}
    assert set(rows["melting"]["probabilities"][0]) == {"low", "high", "probability"}
    assert list(rows["melting"]["quantiles"]) == ["0.05", "0.25", "0.5", "0.75", "0.95"]
    assert rows["melting"]["draws"] is rows["melting"]["standard_error"] is None
    for name in ("parts", "contacts"):
        assert rows[name]["draws"] == 4
        assert len(rows[name]["standard_error"]) == len(rows[name]["probabilities"])
    one = Predictor(predictor.bundle, "cpu", Asking(draws=1)).predict_many([SEQUENCE], "parts")
    one.write(tmp_path / "b.jsonl")
    assert "NaN" not in (tmp_path / "b.jsonl").read_text()


def test_a_file_of_proteins_becomes_a_file_of_alternatives(predictor, tmp_path):
    (tmp_path / "in.fasta").write_text(">p\nMKTAYISSYTAK\n>q\nMST\n>bad\nMK1\n")
    result = predict_file(
        predictor, str(tmp_path / "in.fasta"), str(tmp_path / "out.csv"), ["fold"],
        n_best=2, search=Beam(4, 2, 1.0), prefix="HE", progress=False,
    )  # fmt: skip
    table = pandas.read_csv(tmp_path / "out.csv")
    assert (result.rows, result.rejected) == (2, 1)
    assert table["id"].tolist() == ["p", "p", "q", "q"]
    assert all(text.startswith("HE") for text in table["prediction"])
    assert set(table["readout"]) == {"diverse beam"}
    # The search of a configuration that asks for no alternatives means nothing; another one than the usual is a mistake.
    predict_file(predictor, str(tmp_path / "in.fasta"), str(tmp_path / "usual.csv"), "place", search=Beam())
    with pytest.raises(ConfigError, match="n_best"):
        predict_file(predictor, str(tmp_path / "in.fasta"), str(tmp_path / "x.csv"), search=Sample())
    with pytest.raises(OutputError, match="one answer a task"):
        predict_file(predictor, str(tmp_path / "in.fasta"), str(tmp_path / "x.3line"), n_best=2)
    assert not list(tmp_path.glob("x.*"))


def test_inquiries_without_wishes_stay_what_they_were(predictor):
    assert type(predictor._inquiry(predictor._settings("error", None))) is inquiry.Inquiry
