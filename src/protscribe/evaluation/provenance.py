"""What an evaluation keeps of the bundle it judged, so that its report needs the bundle no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.documents import read_yaml
from protscribe.errors import ProtscribeError

KEPT = (
    "created", "library", "weights", "positions", "readouts", "trust", "neighbours", "architecture", "parameters", "provenance",
)  # fmt: skip
"""The entries of a manifest that say what a model is and where it comes from."""


def describe_model(manifest: Mapping[str, Any], bundle: str | Path) -> dict[str, Any]:
    """The telling part of a bundle's manifest, and as ``config`` the configuration of the run that made it, where it is
    known.
    """
    found = {name: manifest[name] for name in KEPT if name in manifest}
    config = _config(bundle)
    return found | ({"config": config} if config else {})


def _config(bundle: str | Path) -> dict[str, Any]:
    from protscribe.checkpoint import find_bundle
    from protscribe.checkpoint.manifest import CONFIG

    try:
        plain = read_yaml(find_bundle(bundle, local_files_only=True) / CONFIG)
    except (ProtscribeError, OSError):
        # It is for people to read and nothing depends on it.
        return {}
    return dict(plain) if isinstance(plain, Mapping) else {}
