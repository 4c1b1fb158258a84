"""The report of an evaluation: one page and one Markdown text for people, made from what an evaluation wrote, without the
model.
"""

from __future__ import annotations

from pathlib import Path

PAGE, TEXT = "report.html", "report.md"


def write_report(folder: str | Path) -> tuple[Path, Path]:
    """Makes ``report.html`` and ``report.md`` in the folder of an evaluation, from the files there; gives their paths.

    The page holds all it shows: it can be sent as it is, and read without network. Raises
    :class:`~protscribe.errors.InputError` where the folder has no evaluation (``input.not_found``) or another one's
    (``input.format``), and :class:`~protscribe.errors.OutputError` ``output.write``.
    """
    from protscribe.evaluation.report.content import describe
    from protscribe.evaluation.report.findings import read_findings
    from protscribe.evaluation.report.markdown import render_markdown
    from protscribe.evaluation.report.page import render_page
    from protscribe.outputs.atomic import pending_file

    document = describe(read_findings(folder))
    written = Path(folder) / PAGE, Path(folder) / TEXT
    for path, text in zip(written, (render_page(document), render_markdown(document)), strict=True):
        with pending_file(path) as pending:
            pending.stream.write(text.encode("utf-8", "backslashreplace"))
    return written
