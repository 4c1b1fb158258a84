"""What only a GPU can show; skipped where there is none. See also ``test_every_figure_on_a_gpu``."""

import time

import pytest
import torch

from benchmarks.engine.bench import Bench
from benchmarks.engine.figures import FIGURES, met
from protscribe.generation.ahead import one_ahead
from protscribe.predictor import Predictor
from protscribe.records import ProteinRecord
from protscribe.transfer import watched
from tests.small import TASKS, make_bundle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
RECORDS = [ProteinRecord(f"r{n}", ((LETTERS * 40)[n : n + 30 + 37 * n],), ordinal=n) for n in range(12)]
SINGLE = [name for name, task in TASKS.items() if task.chains == 1 and not task.molecule and name != "allele"]


def values(predictor, readout=None):
    found = predictor.predict_many(RECORDS, SINGLE, readout=readout)
    assert not found.failures
    return [(one.task, one.value) for one in found]


@pytest.mark.parametrize("readout", [None, "greedy"])
def test_a_gpu_answers_as_a_cpu_does(readout):
    on_cpu = values(Predictor(make_bundle(), "cpu"), readout)
    on_gpu = values(Predictor(make_bundle(), "cuda"), readout)
    same = sum(a == b for a, b in zip(on_cpu, on_gpu, strict=True))
    # Random weights have ties that another order of summation may break.
    assert same >= 0.98 * len(on_cpu)


def test_bfloat16_gives_valid_answers():
    predictor = Predictor(make_bundle(), "cuda", precision="bfloat16")
    for name, value in values(predictor):
        assert predictor.tasks[name].codec is not None
        assert value is not None


def test_compiled_networks_give_the_same_tokens():
    eager = values(Predictor(make_bundle(), "cuda"), "greedy")
    assert values(Predictor(make_bundle(), "cuda", compile=True), "greedy") == eager


def test_a_decoder_step_becomes_a_cuda_graph():
    predictor = Predictor(make_bundle(), "cuda")
    decoder = predictor._model.decoder
    memory_KMD = torch.randn(4, 64, 32, device="cuda")
    given = [torch.zeros(4, 64, device="cuda", dtype=torch.long) for _ in range(2)]
    with torch.inference_mode():
        memory = decoder.remember(
            memory_KMD, None, torch.ones(4, 64, dtype=torch.bool, device="cuda"), *given
        )
        tokens_BQ = torch.full((4, 1), 5, device="cuda")
        aligned_BQ, columns_BQ = torch.full_like(tokens_BQ, -1), torch.zeros_like(tokens_BQ)
        expected = decoder(tokens_BQ, aligned_BQ, memory, columns_BQ, decoder.caches(4, 32))
        step = torch.compile(decoder, mode="reduce-overhead", fullgraph=True)
        caches = decoder.caches(4, 32)
        for _ in range(3):
            states = step(tokens_BQ, aligned_BQ, memory, columns_BQ, caches).clone()
        torch.testing.assert_close(states, expected)


def test_nothing_waits_but_at_declared_points():
    predictor = Predictor(make_bundle(), "cuda")
    expected = values(predictor)

    def permitting(point, tensors):
        torch.cuda.set_sync_debug_mode("default")
        arrays = tuple(tensor.detach().cpu().numpy() for tensor in tensors)
        torch.cuda.set_sync_debug_mode("error")
        return arrays

    # Torch's own watch: an error at each call that waits.
    torch.cuda.set_sync_debug_mode("error")
    try:
        with watched(permitting):
            found = values(predictor)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found == expected


def test_encoding_goes_on_while_the_device_decodes():
    device = torch.device("cuda")
    left, right = torch.randn(2, 4096, 4096, device=device)

    def encode(item):
        started = time.monotonic()
        for _ in range(50):
            left @ right
        assert time.monotonic() - started < 0.5, "the host waited for the encoder"
        return (_Holder(left + item), _Holder(right + item))

    for item, ready in one_ahead(range(4), encode, device):
        batch, memory = ready()
        assert torch.equal(batch.tensor, left + item)
        assert torch.equal(memory.tensor, right + item)


class _Holder:
    def __init__(self, tensor):
        self.tensor = tensor


INDEPENDENT = ("ten_tasks_over_one", "cross_memory_ratio")
"""Figures whose limits hold on any device."""


@pytest.fixture(scope="module")
def bench():
    pytest.importorskip("ctranslate2", reason="the peers come with the extra bench")
    return Bench(device="cuda", repeats=2)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_at_full_size(bench, name):
    function, keys = FIGURES[name]
    found = function(bench)
    for key in keys:
        if key in found:
            print(f"{key}: {found[key]:.3g} on {torch.cuda.get_device_name()}")
        assert key not in found or found[key] > 0
        assert key not in INDEPENDENT or met(key, found[key])
