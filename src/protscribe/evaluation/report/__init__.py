"""The report of an evaluation: one page and one Markdown text for people, made from what an evaluation wrote, without the
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE, TEXT = "report.html", "report.md"


def write_report(folder: str | Path, seeds: str | Path | Sequence[str | Path] = ()) -> tuple[Path, Path]:
    """Makes ``report.html`` and ``report.md`` in the folder of an evaluation, from the files there; gives their paths.

    The page holds all it shows: it can be sent as it is, and read without network. ``seeds`` are folders with evaluations, on
    the same test rows, of models that were trained in the same way with other seeds: the report then also says how far
    training again moves each figure, and ``seeds.json`` and ``seeds.md`` are written beside it. Raises
    :class:`~protscribe.errors.InputError` where a folder has no evaluation (``input.not_found``) or another one's
    (``input.format``), :class:`~protscribe.errors.ConfigError` ``evaluation.seeds`` for evaluations that are not alike, and
    :class:`~protscribe.errors.OutputError` ``output.write``.
    """
    from protscribe.evaluation.report.content import describe
    from protscribe.evaluation.report.findings import read_findings
    from protscribe.evaluation.report.markdown import render_markdown
    from protscribe.evaluation.report.page import render_page
    from protscribe.evaluation.seeds import merge_seeds
    from protscribe.outputs.atomic import pending_file

    if isinstance(seeds, (str, Path)):
        seeds = [seeds]
    findings = read_findings(folder)
    again = merge_seeds([folder, *seeds]) if seeds else None
    document = describe(findings, again)
    if again is not None:
        again.write(folder)
    written = Path(folder) / PAGE, Path(folder) / TEXT
    for path, text in zip(written, (render_page(document), render_markdown(document)), strict=True):
        with pending_file(path) as pending:
            pending.stream.write(text.encode("utf-8", "backslashreplace"))
    return written
