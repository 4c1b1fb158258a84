"""A batch is encoded when it is asked for on a CPU; on CUDA (``tests/test_gpu.py``) the next one is under way."""

import pytest
import torch

from protscribe.data.collate import Question
from protscribe.generation.ahead import _tensors, one_ahead
from tests.generation.tiny import RECORDS, TASKS


def test_on_a_cpu_nothing_is_encoded_before_it_is_asked_for():
    encoded = []
    pairs = one_ahead([1, 2, 3], lambda item: encoded.append(item) or item, torch.device("cpu"))
    for item, ready in pairs:
        assert item not in encoded
        assert ready() == item
    assert encoded == [1, 2, 3]


def test_what_goes_wrong_is_raised_where_it_is_asked_for():
    def encode(item):
        raise torch.OutOfMemoryError("no room")

    ((item, ready),) = one_ahead([5], encode, torch.device("cpu"))
    assert item == 5
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        ready()


@torch.inference_mode()
def test_every_tensor_of_a_batch_and_a_memory_is_found(model, collate):
    batch = collate([Question(RECORDS[0], TASKS["one_of"])])
    memory = model.decoder.project(model.remember(batch))
    assert len(list(_tensors(memory))) == 3 + 2 * len(memory.projected) + (
        memory.pointer_keys_KMD is not None
    )
    assert len(list(_tensors(batch))) == 12
