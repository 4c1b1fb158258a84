"""A random-weight model over the tasks of ``tiny``."""

import pytest
import torch
from torch import nn

from protscribe.data.collate import Collator
from protscribe.data.lexicon import Lexicon, position_block
from protscribe.nn.decoder import Decoder
from protscribe.nn.model import Scribe
from protscribe.vocabulary import Vocabulary
from tests.generation.tiny import TASKS, LetterEncoder


@pytest.fixture(params=["pointers", "tokens"])
def positions(request):
    return request.param


@pytest.fixture(params=[{}, {"kv_heads": 1, "shared": True}], ids=["multi-head", "shared multi-query"])
def cross_attention(request):
    return request.param


@pytest.fixture
def lexicon(positions):
    blocks = [block for entry in TASKS.values() for block in entry.blocks()]
    return Lexicon(Vocabulary.compose([*blocks, position_block(40)]), positions)


@pytest.fixture
def model(lexicon, cross_attention):
    return random_model(lexicon, cross_attention)


def random_model(lexicon, cross_attention):
    """Columns are told the prompt by one of the two forms of decoders, and not by the other."""
    torch.manual_seed(5)
    decoder = Decoder(
        len(lexicon.vocabulary),
        memory_width=LetterEncoder.width,
        width=16,
        layers=2,
        heads=4,
        cross_attention=cross_attention,
        pointers=lexicon.positions == "pointers",
        prompt_everywhere=bool(cross_attention),
    )
    for parameter in decoder.score.parameters():
        nn.init.normal_(parameter, std=0.5)
    return Scribe(LetterEncoder(), decoder).eval()


@pytest.fixture
def collate(lexicon):
    return Collator(lexicon)
