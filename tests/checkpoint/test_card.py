"""The model card says what the Hub and a person want to know."""

import pytest
import yaml
from huggingface_hub import ModelCard

from tests.checkpoint.made import TASKS, made_lexicon, save

PROVENANCE = {
    "license": "cc-by-4.0",
    "encoder": {"kind": "esm2", "name": "facebook/esm2_t6_8M_UR50D"},
    "sources": {"one": "demo_where", "two": "demo_sites"},
    "licences": {"demo_where": "BSD-3-Clause"},
    "sampled": {
        "one": {"samples": 12_000, "rows": 1_920, "of": 2_400, "residues": 2_500_000, "tokens": 31_000}
    },
    "evaluation": {"where": {"accuracy": 0.87654}, "sites": {"f1": 0.5}},
    "seed": 3,
    "command": "protscribe train experiment=demo",
}


@pytest.fixture
def card(tmp_path):
    save(tmp_path / "tiny", provenance=PROVENANCE)
    return (tmp_path / "tiny" / "README.md").read_text()


def test_the_front_matter_is_the_hubs(card):
    front = ModelCard(card).data.to_dict()
    assert front["license"] == "cc-by-4.0"
    assert front["library_name"] == "protscribe"
    assert front["base_model"] == "facebook/esm2_t6_8M_UR50D"
    assert front["datasets"] == ["demo_where", "demo_sites"]
    assert "protein" in front["tags"]


def test_every_task_block_and_size_stands_in_it(card):
    for task in TASKS.values():
        assert f"| {task.name} | {task.title} (`{task.codec.kind}`) |" in card
    for block in made_lexicon().vocabulary.block_names:
        assert f"| {block} |" in card
    assert "least risk threshold 0.25" in card
    assert "one chain, host" in card
    assert "| encoder | mini |" in card


def test_evaluation_and_licences_stand_in_it(card):
    assert "| where | accuracy | 0.8765 |" in card
    assert "licence of facebook/esm2_t6_8M_UR50D: MIT" in card
    assert "licence of demo_where: BSD-3-Clause" in card
    assert "licence of the data of demo_sites: not stated" in card
    assert "seed: `3`" in card
    assert "`protscribe train experiment=demo`" in card


def test_what_was_sampled_stands_in_it(card):
    head, row = card.split("## Samples\n\n")[1].splitlines()[0:3:2]
    assert head == "| trained on | samples | different rows | residues | tokens |"
    assert row == "| one | 12,000 | 1,920 of 2,400 | 2,500,000 | 31,000 |"


def test_what_is_not_known_is_not_claimed(tmp_path):
    save(tmp_path / "tiny", provenance={"encoder": {"kind": "esm2", "name": "/home/me/esm"}})
    card = (tmp_path / "tiny" / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "other"
    assert "base_model" not in front
    assert "## Evaluation" not in card
    assert "## Samples" not in card
    assert "licence of /home/me/esm: not stated" in card
