"""Random weights of the ESM-2 8M shape in a local folder: both back ends, one training step, predict, the same answers."""

import pandas
import pytest
import torch

from protscribe.checkpoint import save_bundle
from protscribe.cli import main
from protscribe.encoders import load_encoder
from protscribe.outputs import predict_file
from tests.small import make_bundle, task

TASKS = {
    one.name: one
    for one in (
        task("place", kind="category", labels=["inside", "outside", "membrane"]),
        task("melting", kind="number", low=0, high=90.5, step=0.1, unit="°C"),
        task("fold", kind="residue_labels", labels=list("HEC")),
        task("sites", kind="residue_set", candidates="STY"),
        task("bind", chains=2, symmetric=True, kind="category", labels=["no", "yes"]),
    )
}


@pytest.fixture(scope="module")
def esm_folder(tmp_path_factory):
    from transformers import EsmConfig, EsmForMaskedLM

    torch.manual_seed(7)
    config = EsmConfig(
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=1,
        hidden_size=320,
        num_hidden_layers=6,
        num_attention_heads=20,
        intermediate_size=1280,
        position_embedding_type="rotary",
        layer_norm_eps=1e-5,
        token_dropout=True,
        emb_layer_norm_before=False,
    )
    folder = tmp_path_factory.mktemp("esm2_8m")
    EsmForMaskedLM(config).save_pretrained(folder)
    return folder


def test_both_back_ends_predict_the_same_from_one_folder(esm_folder, tmp_path):
    proteins = tmp_path / "proteins.fasta"
    proteins.write_text(">a\nMKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ\n>b some text\nGSSGSSTYS\n>c\nmktxuyb*\n")
    answers = {}
    for kind in ("esm2", "fair_esm"):
        encoder = load_encoder({"kind": kind, "name": str(esm_folder), "local_files_only": True}).eval()
        bundle = tmp_path / kind
        made = make_bundle(TASKS, encoder=encoder)
        save_bundle(bundle, model=made.model, lexicon=made.lexicon, tasks=made.tasks, readouts=made.readouts)
        output = tmp_path / f"{kind}.csv"
        result = predict_file(str(bundle), str(proteins), str(output), progress=False)
        assert (result.rows, result.rejected) == (3 * 4, 0)
        answers[kind] = pandas.read_csv(output, dtype=str, keep_default_na=False)
    first, second = answers["esm2"], answers["fair_esm"]
    measured = first["task"] == "melting"
    same = ["id", "task", "prediction", "status"]
    assert first[~measured][same].equals(second[~measured][same])
    means = [answers[kind]["prediction"][measured].astype(float).to_numpy() for kind in answers]
    assert means[0] == pytest.approx(means[1], abs=1e-2)
    assert (first["score"].astype(float) - second["score"].astype(float)).abs().max() < 1e-3


def test_a_folder_of_esm2_trains_with_lora_from_the_command_line(esm_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configs = tmp_path / "configs"
    for name in ("task", "source", "mixture"):
        (configs / name).mkdir(parents=True)
    (configs / "task/toy.yaml").write_text(
        "# a toy\nname: toy\ntitle: Toy\ncodec: {kind: category, labels: ['a', 'b']}\nmetrics: [accuracy]\n"
    )
    (configs / "source/toy.yaml").write_text("# its rows\nname: toy\npath: toy.csv\ntask: toy\n")
    (configs / "mixture/toy.yaml").write_text(
        "# alone\n_target_: protscribe.data.mixture.Mixture\nentries:\n  toy: {source: toy, weight: 1.0}\n"
        "temperature: 1.0\nepoch_size: 0\n"
    )
    rows = [f"p{place},MKT{'ACDEFGHIKL'[place % 10] * (2 + place)},{'ab'[place % 2]}" for place in range(40)]
    (tmp_path / "toy.csv").write_text("id,sequence,label\n" + "\n".join(rows) + "\n")
    status = main(
        [
            "train",
            f"--config-dir={configs}",
            "mixture=toy",
            "encoder=esm_local",
            f"encoder.name={esm_folder}",
            "adaptation=lora",
            "decoder=tiny",
            "trainer.max_epochs=1",
            "logger=none",
            "name=toy",
        ]
    )
    assert status == 0
    (tmp_path / "in.csv").write_text("id,sequence\nx,MKTMKT\n")
    assert main(["predict", "bundle=runs/toy/bundle", "input=in.csv", "output=out.csv"]) == 0
    written = pandas.read_csv(tmp_path / "out.csv", dtype=str)
    assert written["prediction"].isin(["a", "b"]).all()
