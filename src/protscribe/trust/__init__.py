"""How far each answer can be trusted: what was learnt about a task's probabilities on held-out rows, as plain data.

:class:`Trust` is what a bundle keeps of one task beside its readout: a :class:`~protscribe.trust.calibration.Calibration`,
applied to evidence before an answer is read from it, and the thresholds of a
:class:`~protscribe.trust.conformal.Conformal` guarantee. How both are fitted: ``protscribe.evaluation.confidence.trust``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from protscribe.codecs.protocol import Evidence
from protscribe.errors import nearest
from protscribe.trust.calibration import Calibration, calibrate
from protscribe.trust.conformal import Conformal

__all__ = ["CELLS", "Calibration", "Conformal", "Trust"]

CELLS = ("calibration", "fitted on", "coverage", "vouched for by")
"""What :meth:`Trust.cells` says, as the head of a table."""


@dataclass(frozen=True)
class Trust:
    """What is known about one task's probabilities; ``None`` where nothing could be learnt."""

    calibration: Calibration | None = None
    conformal: Conformal | None = None

    def __bool__(self) -> bool:
        return self.calibration is not None or self.conformal is not None

    def calibrated(self, evidence: Evidence) -> Evidence:
        """The evidence with calibrated probabilities, or as it is."""
        return evidence if self.calibration is None else calibrate(evidence, self.calibration)

    def cells(self) -> tuple[str, str, str, str]:
        """For people: the map and the coverages that can be asked for, each with the held-out proteins behind it."""
        fit, sure = self.calibration, self.conformal
        told = (
            ("none", "")
            if fit is None
            else (f"slope {fit.slope:.3g}, offset {fit.offset:.3g}", f"{fit.rows:,}")
        )
        most = ("none", "") if sure is None else (f"up to {sure.levels[-1]:.6g}", f"{sure.rows:,}")
        return (*told, *most)

    def to_plain(self) -> dict[str, Any]:
        """Mappings, lists and numbers, as a bundle's manifest holds them."""
        told = {
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "conformal": None if self.conformal is None else asdict(self.conformal),
        }
        return {name: part for name, part in told.items() if part is not None}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Trust:
        """The inverse of :meth:`to_plain`. Raises ``ValueError`` or ``TypeError`` for anything else than that could have
        written."""
        parts: dict[str, Any] = {"calibration": Calibration, "conformal": Conformal}
        for name in plain:
            if name not in parts:
                raise ValueError(f"trust has no {name!r}; {nearest(str(name), parts)}")
        return cls(**{name: parts[name].from_plain(part) for name, part in plain.items()})
