"""Weights of other people's models: found, checked, never silently replaced by random ones.

Only safetensors are opened. :func:`convert` turns a folder of pickled weights into one of safetensors, without running
code from the pickle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from protscribe.errors import CheckpointError, Where

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
HEADS = frozenset(
    [
        "lm_head",
        "cls",
        "classifier",
        "pooler",
        "contact_head",
        "qa_outputs",
        "score",
        "decoder",
        "predictions",
        "discriminator_predictions",
        "generator_predictions",
        "generator_lm_head",
        "vocab_transform",
        "vocab_layer_norm",
        "vocab_projector",
    ]
)
"""First parts of names of tensors that belong to pretraining or task heads: a folder may hold them, an encoder leaves them."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def find(name_or_folder: str, local_files_only: bool = False, revision: str | None = None) -> Path:
    """The folder that holds a model: itself, or the snapshot of a Hugging Face Hub name, downloaded where allowed.

    ``HF_HUB_OFFLINE`` is honoured. Raises :class:`~protscribe.errors.CheckpointError`: ``checkpoint.not_found`` (no such
    folder, name or revision), ``checkpoint.offline`` (not cached, and the hub is not reachable or not to be asked; no retries),
    ``checkpoint.pickle`` (no safetensors).
    """
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return _with_safetensors(folder)
    if not HUB_NAME.fullmatch(name_or_folder) or folder.exists():
        raise CheckpointError(
            "checkpoint.not_found",
            f"no folder {name_or_folder!r}, and it is not a hub name such as 'facebook/esm2_t6_8M_UR50D'",
        )
    return _with_safetensors(_download(name_or_folder, local_files_only, revision))


def _download(name: str, local_files_only: bool, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f"{name!r}" + (f" at revision {revision!r}" if revision else "")
    try:
        return Path(
            snapshot_download(
                name, revision=revision, local_files_only=local_files_only, allow_patterns=FILES
            )
        )
    except LocalEntryNotFoundError as error:
        asked = "only local files were allowed" if local_files_only else "the hub cannot be reached"
        raise CheckpointError(
            "checkpoint.offline",
            f"no folder {name!r}, no cached copy of the hub's {at}, and {asked}; download it on a machine with network "
            f"('hf download {name}') and give its folder, or copy the cache (HF_HOME)",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, GatedRepoError) as error:
        reason = (
            "it is gated: accept its terms and log in"
            if isinstance(error, GatedRepoError)
            else "no such thing"
        )
        raise CheckpointError(
            "checkpoint.not_found", f"no folder {name!r}, and the hub does not give {at} ({reason})"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise CheckpointError("checkpoint.offline", f"the hub failed to give {at}: {error}") from error


def _with_safetensors(folder: Path) -> Path:
    where = Where(file=str(folder))
    if not any(folder.glob("*.safetensors")):
        if any(path for pattern in PICKLES for path in folder.glob(pattern)):
            raise CheckpointError(
                "checkpoint.pickle",
                "its weights are pickled and pickles can run code; convert them once with "
                "'python -c \"from protscribe.encoders.pretrained import convert; convert(FOLDER, NEW_FOLDER)\"'",
                where,
            )
        raise CheckpointError("checkpoint.not_found", "holds no *.safetensors weights", where)
    if not (folder / "config.json").is_file():
        raise CheckpointError("checkpoint.not_found", "holds no config.json", where)
    return folder


def load_pretrained(model_class: Any, folder: Path, heads: tuple[str, ...], **options: Any) -> Any:
    """A transformers model with exactly the weights of a folder, in float32 and in eval mode.

    Parameters
    ----------
    model_class: ``EsmModel``, ``AutoModel``, ...
    heads: first parts of tensor names that may lack in the folder, because the encoder does not use them.

    Raises :class:`~protscribe.errors.CheckpointError`: ``checkpoint.tensors`` for missing, unexpected or misshapen tensors
    (the first 5 named), ``checkpoint.corrupt`` for a damaged file, ``checkpoint.not_finite`` for NaN or infinity.
    """
    from safetensors import SafetensorError

    where = Where(file=str(folder))
    try:
        with _quiet():
            model, loading = model_class.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=torch.float32,
                **options,
            )
    except SafetensorError as error:
        raise CheckpointError(
            "checkpoint.corrupt", f"a safetensors file is damaged: {error}", where
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError("checkpoint.corrupt", f"transformers cannot read it: {error}", where) from error
    except RuntimeError as error:
        raise CheckpointError(
            "checkpoint.tensors", f"tensors do not fit its config.json: {error}", where
        ) from error
    missing = [name for name in loading["missing_keys"] if name.split(".")[0] not in heads]
    prefix = f"{model.base_model_prefix}."
    unexpected = [
        name
        for name in loading["unexpected_keys"]
        if name.removeprefix(prefix).split(".")[0] not in HEADS.union(heads)
    ]
    check_tensors(missing, unexpected, where)
    check_finite(model, where)
    return model.eval()


def check_tensors(missing: Iterable[str], unexpected: Iterable[str], where: Where) -> None:
    """Raises ``checkpoint.tensors`` naming the first five of each."""
    said = []
    for word, names in (("missing", sorted(missing)), ("unexpected", sorted(unexpected))):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            said.append(f"{word}: {', '.join(names[:5])}{more}")
    if said:
        raise CheckpointError(
            "checkpoint.tensors",
            f"the weights do not fit the architecture; {'; '.join(said)}. Nothing was filled in at random",
            where,
        )


def check_finite(model: nn.Module, where: Where) -> None:
    """Raises ``checkpoint.not_finite`` naming the first weight with NaN or infinity."""
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise CheckpointError("checkpoint.not_finite", f"NaN or infinity in {name}", where)


def convert(folder: str, output: str) -> None:
    """Writes the pickled weights of a transformers folder as safetensors, with its other small files, to a new folder.

    The pickle is read with ``weights_only=True``, which runs no code from it.
    """
    from safetensors.torch import save_file

    source, target = Path(folder), Path(output)
    state: dict[str, torch.Tensor] = {}
    for path in sorted(source.glob("*.bin")):
        state |= torch.load(path, map_location="cpu", weights_only=True)
    if not state:
        raise CheckpointError("checkpoint.not_found", "holds no *.bin weights", Where(file=folder))
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.suffix in (".json", ".txt", ".model") and not path.name.endswith(".bin.index.json"):
            (target / path.name).write_bytes(path.read_bytes())
    copies = {name: weight.clone().contiguous() for name, weight in state.items()}
    save_file(copies, target / "model.safetensors", metadata={"format": "pt"})


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a folder as plain data; ``checkpoint.corrupt`` where it is not JSON."""
    path = folder / "config.json"
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            "checkpoint.corrupt", f"is not readable JSON: {error}", Where(file=str(path))
        ) from error
    return plain


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences transformers' own loading report, whose content :func:`check_tensors` turns into an error."""
    from transformers.utils import logging

    report: Any = logging
    level, bars = report.get_verbosity(), report.is_progress_bar_enabled()
    report.set_verbosity_error()
    report.disable_progress_bar()
    try:
        yield
    finally:
        report.set_verbosity(level)
        if bars:
            report.enable_progress_bar()
