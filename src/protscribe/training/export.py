"""From a trained model to its bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protscribe.data.datamodule import ScribeData
from protscribe.encoders import Windowed, merge
from protscribe.nn.growth import release
from protscribe.nn.model import Scribe
from protscribe.training.start import Start


def export(
    folder: Path,
    model: Scribe,
    data: ScribeData,
    choose: bool,
    calibrate: bool,
    config: Mapping[str, Any] | None,
    provenance: Mapping[str, Any],
    start: Start | None,
) -> None:
    """Writes the bundle: low-rank additions merged, calibrations fitted and readouts chosen on validation data. Tasks that were
    there before the run stay, with their readouts."""
    from protscribe.checkpoint import Bundle, save_bundle
    from protscribe.codecs.protocol import Readout
    from protscribe.evaluation.confidence.readouts import choose_readouts
    from protscribe.evaluation.confidence.trust import fit_trust
    from protscribe.predictor import Predictor

    encoder: Any = model.encoder
    model.encoder = merge(encoder.encoder if isinstance(encoder, Windowed) else encoder)
    release(model.decoder)
    model.to("cpu").eval()
    before = start.bundle if start is not None else None
    kept = start.kept_readouts(data.tasks) if start is not None else {}
    tasks = {**(before.tasks if before else {}), **data.tasks}
    chosen = {name: Readout() for name in tasks} | dict(before.readouts if before else {})
    trust = {} if start is None else start.kept_trust(kept)
    asked = {name: rows for name, rows in data.validation.items() if rows and name not in kept}
    if choose and asked:
        predictor = Predictor(Bundle(model, data.lexicon, tasks, chosen, {}), "cpu")
        if calibrate:
            fitted, found = fit_trust(predictor, asked, seed=data.seed)
            trust = {**{name: one for name, one in trust.items() if name not in asked}, **fitted}
        else:
            found = choose_readouts(predictor, asked)
        chosen |= found
    save_bundle(
        folder,
        model=model,
        lexicon=data.lexicon,
        tasks=tasks,
        readouts=chosen,
        trust=trust,
        neighbours={} if start is None else start.kept_neighbours(kept),
        config=config,
        provenance=provenance,
    )
