"""The benchmark runs, and its last line is JSON; what it measures is not looked at here."""

import json

import torch

from benchmarks.first_light import ENCODERS, QUESTIONS, main, make_proteins


def test_one_protein(capsys):
    threads = torch.get_num_threads()
    try:
        result = main(["--proteins", "1"])
    finally:
        torch.set_num_threads(threads)
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    assert set(result["rates"]) == {
        f"{encoder}.{questions}" for encoder in ENCODERS for questions in QUESTIONS
    }
    assert all(rate["proteins_per_second"] > 0 for rate in result["rates"].values())


def test_the_proteins_are_those_that_were_promised():
    lengths = sorted(len(record.sequence) for record in make_proteins(1000))
    assert lengths[0] >= 40
    assert lengths[-1] <= 1022
    assert 270 < lengths[500] < 330
    assert make_proteins(5) == make_proteins(5)
