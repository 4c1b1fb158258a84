"""Explanations: of the answer that is predicted, with attention that adds up, and with occlusion that finds what a model
looks at.
"""

import numpy as np
import pytest
import torch
from torch import nn

from protscribe.alphabet import PAD_RESIDUE, RESIDUES
from protscribe.errors import ConfigError, SequenceError, TaskError
from protscribe.explanation import EXPLAINED_KINDS
from protscribe.predictor import Predictor
from tests.small import TASKS, make_bundle

PROTEIN = "MDEFGHILAAKNPQRSTVWYSDEFGHIL"
KINDS = [name for name, task in TASKS.items() if task.codec.kind in EXPLAINED_KINDS]
GIVEN = {"allele": {"host": "human"}, "ligand": {"smiles": "CCO"}, "pocket": {"smiles": "CCO"}}


class LysineEncoder(nn.Module):
    """Tells lysine from everything else, and the place where it stands from the others' only by that."""

    kind, width, limit = "lysine", 8, None

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(PAD_RESIDUE + 1, self.width)
        with torch.no_grad():
            self.table.weight[:] = self.table.weight[0].clone()
            self.table.weight[RESIDUES.index("K")] = 3 * torch.randn(self.width)

    def forward(self, residues_NL, mask_NL):
        return self.table(residues_NL) * mask_NL[..., None]

    def blocks(self):
        return []


@pytest.fixture(scope="module")
def predictor():
    return Predictor(make_bundle(), "cpu")


@pytest.fixture(scope="module")
def of_lysine():
    torch.manual_seed(1)
    tasks = {name: TASKS[name] for name in ("place", "sites", "activities")}
    bundle = make_bundle(tasks, encoder=LysineEncoder())
    with torch.no_grad():
        # An untrained decoder hears its symbols more than the protein; this one shall hear the protein.
        bundle.model.decoder.table.weight *= 0.02
        bundle.model.decoder.parts.weight *= 0.02
    return Predictor(bundle, "cpu")


def asked(task):
    return (PROTEIN, PROTEIN[::-1]) if TASKS[task].chains == 2 else PROTEIN


@pytest.mark.parametrize("task", KINDS)
def test_what_is_explained_is_what_is_predicted(predictor, task):
    given = GIVEN.get(task, {})
    explained = predictor.explain(asked(task), task, window=9, **given)
    predicted = predictor.predict(asked(task), task, readout="risk", **given)
    assert explained.prediction.value == predicted.value
    if isinstance(predicted.probabilities, dict):
        assert explained.prediction.probabilities == pytest.approx(predicted.probabilities, abs=1e-5)
    else:
        assert np.allclose(explained.prediction.probabilities, predicted.probabilities, atol=1e-5)
    if predicted.kind == "category":
        assert explained.probability == pytest.approx(predicted.probabilities[predicted.value], abs=1e-5)


@pytest.mark.parametrize("task", KINDS)
def test_attention_adds_up_and_covers_every_residue(predictor, task):
    explained = predictor.explain(asked(task), task, window=9, **GIVEN.get(task, {}))
    chains = explained.prediction.record.chains
    assert [len(part) for part in explained.attention] == [len(chain) for chain in chains]
    assert [len(part) for part in explained.occlusion] == [len(chain) for chain in chains]
    whole = sum(part.sum() for part in explained.attention)
    assert whole + explained.attention_elsewhere == pytest.approx(1, abs=1e-5)
    assert (explained.attention_elsewhere > 0) == TASKS[task].molecule
    assert explained.attention_by_layer.shape == (2, sum(map(len, chains)))
    assert explained.attention_by_layer.mean(axis=0).sum() == pytest.approx(whole)
    assert all(np.isfinite(part).all() for part in explained.occlusion)
    assert (
        f"mean over 2 layers, 4 heads and {'the one' if explained.decisions == 1 else 'the'}"
        in explained.caption
    )
    assert explained.layers == 2


@pytest.mark.parametrize("window", [1, 2, 5, 100])
def test_hiding_shows_the_residue_that_matters(of_lysine, window):
    explained = of_lysine.explain(PROTEIN, "place", window=window, step=1)
    (changes,) = explained.occlusion
    lysine = PROTEIN.index("K")
    near = np.abs(np.arange(len(PROTEIN)) - lysine) < window
    assert abs(changes[lysine]) > 1e-3
    assert np.abs(changes[~near]).max(initial=0) < 1e-6
    if window == 1:
        without = of_lysine.predict(PROTEIN.replace("K", "X"), "place")
        label = explained.prediction.value
        expected = np.log(without.probabilities[label]) - np.log(explained.prediction.probabilities[label])
        assert changes[lysine] == pytest.approx(expected, abs=1e-5)
        assert explained.hidden == len(PROTEIN)


def test_a_hidden_candidate_stays_one(of_lysine):
    # To this encoder every residue but lysine is the same: hiding S, T and Y must change nothing, though X is no candidate.
    explained = of_lysine.explain(PROTEIN, "sites", window=1)
    (changes,) = explained.occlusion
    others = [place for place, letter in enumerate(PROTEIN) if letter != "K"]
    assert np.abs(changes[others]).max() < 1e-6


def test_every_residue_is_hidden_whatever_the_windows(predictor):
    for window, step in ((5, None), (4, 4), (7, 3), (28, 1), (40, 40)):
        explained = predictor.explain(PROTEIN, "place", window=window, step=step)
        assert np.isfinite(explained.occlusion[0]).all()
        assert explained.window == window
    assert explained.hidden == 1


def test_another_class_or_residue_can_be_followed(predictor):
    answer = predictor.predict(PROTEIN, "place")
    other = next(label for label in answer.probabilities if label != answer.value)
    explained = predictor.explain(PROTEIN, "place", about=other, window=9)
    assert explained.subject == f"P({other})"
    assert explained.probability == pytest.approx(answer.probabilities[other], abs=1e-5)
    site = predictor.explain(PROTEIN, "sites", about=17, window=9)
    assert site.subject == "P(T17)"
    assert site.probability == pytest.approx(float(site.prediction.probabilities[16]), abs=1e-6)


def test_rows_count_from_one(predictor):
    rows = list(predictor.explain(asked("epitope"), "epitope", window=9).rows())
    assert [row[:3] for row in rows[:2]] == [(1, 1, "M"), (1, 2, "D")]
    assert rows[len(PROTEIN)][:3] == (2, 1, "L")
    assert len(rows) == 2 * len(PROTEIN)


def test_refusals(predictor):
    with pytest.raises(TaskError, match="classes and sites") as caught:
        predictor.explain(PROTEIN, "melting")
    assert caught.value.code == "task.no_explanation"
    for wrong in ({"window": 0}, {"window": 2.5}, {"step": 0}, {"window": 3, "step": 4}):
        with pytest.raises(ConfigError) as error:
            predictor.explain(PROTEIN, "place", **wrong)
        assert error.value.code == "config.value"
    with pytest.raises(ConfigError, match="did you mean 'inside'"):
        predictor.explain(PROTEIN, "place", about="insde")
    for wrong in (0, 29, "S12", "-1"):
        with pytest.raises(ConfigError, match="1 to 28"):
            predictor.explain(PROTEIN, "sites", about=wrong)
    with pytest.raises(SequenceError):
        predictor.explain("MK4", "place")
    with pytest.raises(TaskError, match="two chains"):
        predictor.explain(PROTEIN, "bind")
