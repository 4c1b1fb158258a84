"""Protscribe: one model that writes the answers to many protein tasks in one shared vocabulary.

>>> import protscribe as ps
>>> model = ps.load("runs/demo/bundle")          # doctest: +SKIP
>>> model.predict("MKT...", task="solubility")   # doctest: +SKIP

Importing this package loads neither torch nor transformers; :func:`load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protscribe.errors import ProtscribeError
from protscribe.records import Failure, Prediction, ProteinRecord

if TYPE_CHECKING:
    from protscribe.predictor import Predictor

__version__ = "0.1.0"

__all__ = ["Failure", "Prediction", "ProteinRecord", "ProtscribeError", "load"]


def load(bundle: str, device: str = "auto", **options: Any) -> Predictor:
    """A :class:`~protscribe.predictor.Predictor` from a bundle: a folder, the name of a released one
    (``"mini-multitask"``), or ``org/name`` on the Hub.

    ``device`` is ``"auto"`` (CUDA if there, else CPU), ``"cpu"`` or ``"cuda[:n]"``. Raises
    :class:`~protscribe.errors.CheckpointError` for a missing, damaged or foreign bundle; never falls back to
    random weights.
    """
    from protscribe.predictor import Predictor

    return Predictor.load(bundle, device=device, **options)
