"""Encoding in lots: the same states as all at once."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from protscribe.data.collate import Collator, Question
from protscribe.nn import model
from protscribe.nn.model import lots
from protscribe.records import ProteinRecord
from tests.small import TASKS, make_bundle


@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(1, 900))
def test_lots_hold_every_chain_once_within_the_budget(lengths, most):
    found = list(lots(lengths, most))
    assert [first for first, _, _ in found] == [0, *(stop for _, stop, _ in found[:-1])]
    assert found[-1][1] == len(lengths)
    for first, stop, columns in found:
        assert columns == -(-max(lengths[first:stop]) // 8) * 8
        assert stop - first == 1 or (stop - first) * columns <= most


@torch.inference_mode()
def test_states_do_not_depend_on_lots(monkeypatch):
    bundle = make_bundle()
    records = [ProteinRecord(str(n), ("MKTAYIAKQRQISFVK"[n:] * (n % 4 + 1),)) for n in range(9)]
    task = next(task for task in TASKS.values() if task.chains == 1 and not task.molecule)
    batch = Collator(bundle.lexicon)([Question(record, task) for record in records])
    made = bundle.model.eval()
    together = made.encode(batch)
    monkeypatch.setattr(model, "TOGETHER", 40)
    sizes = []
    forward = made.encoder.forward
    monkeypatch.setattr(
        made.encoder,
        "forward",
        lambda residues, mask: sizes.append(residues.shape) or forward(residues, mask),
    )
    apart = made.encode(batch)
    assert len(sizes) > 3
    assert together.shape == apart.shape
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
    made.encoder.forward = forward
