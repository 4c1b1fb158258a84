"""The bundle: a folder that holds a model, its vocabulary and its tasks, and nothing that runs.

=====================  =======================================================================================
manifest.json          format, versions, size and SHA-256 of every file, architecture, readouts, provenance, and
                       its own seal
vocabulary.json        the ordered symbols, one ``[block, text]`` a line
tasks.json             the tasks, as plain data
model.safetensors      the weights: float32, or bfloat16 or float16 where that was asked for
config.yaml            the run's resolved configuration, for people; nothing reads it
README.md              the model card; nothing reads it
=====================  =======================================================================================

Finding, checking and describing a bundle loads no torch; saving and loading a model does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protscribe.checkpoint.hub import find_bundle, push_to_hub, released_names
from protscribe.checkpoint.manifest import read_manifest

if TYPE_CHECKING:
    from protscribe.checkpoint.bundle import Bundle, load_bundle, rewrite_bundle, save_bundle

__all__ = [
    "Bundle", "find_bundle", "load_bundle", "push_to_hub", "read_manifest", "released_names", "rewrite_bundle", "save_bundle",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from protscribe.checkpoint import bundle

    return getattr(bundle, name)
