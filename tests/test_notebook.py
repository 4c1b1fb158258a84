"""The quickstart runs from top to bottom with a bundle of the demo's tasks (random weights: what it says is not looked at)."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from protscribe.catalogue import read_task
from protscribe.checkpoint import save_bundle
from tests.small import make_bundle

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"
DEMO = (
    "solubility",
    "antimicrobial",
    "capsid",
    "rna_binding",
    "mmp2_cleavage",
    "long_disorder",
    "mhc_affinity",
    "tcr_epitope",
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    values = {"allele": ["HLA-A02:01", "HLA-B07:02"], "v_gene": ["TRBV19", "TRBV6-5"]}
    tasks = {name: read_task(name).fill([], values) for name in DEMO}
    made = make_bundle(tasks)
    return save_bundle(
        tmp_path_factory.mktemp("demo") / "bundle",
        model=made.model,
        lexicon=made.lexicon,
        tasks=tasks,
        readouts=made.readouts,
    )


def test_the_quickstart_runs(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("PROTSCRIBE_BUNDLE", str(bundle))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = [set(output.get("data", {})) for output in outputs]
    assert sum("image/png" in kind for kind in kinds) == 2
    assert sum("text/html" in kind for kind in kinds) >= 5
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    text = "".join(str(output) for output in outputs)
    assert all(name in text for name in DEMO)
    assert "U+0031" in text
    assert "##gff-version 3" in text


def test_the_committed_notebook_has_no_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
