"""The report of a run: ``report.html`` for reading, ``README.md`` as the model card.

Both are made from the run folder's files alone: no model is loaded, and the environment is read
only to keep its secrets out. Everything a model wrote is escaped.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from mathtune.report.answers import MOST_ROWS
from mathtune.report.html import build_html
from mathtune.report.model_card import build_card
from mathtune.report.reading import RunFiles, read, unread_rows
from mathtune.run_paths import RunPaths
from mathtune.storage import write_text

log = logging.getLogger(__name__)

__all__ = ["RunFiles", "build_card", "build_html", "read", "write"]


def write(run_dir: Path) -> None:
    """Write ``report.html`` and ``README.md`` into a run folder, each complete or not at all.

    Parts that the folder lacks (a run that was trained but not evaluated, say) are left out, and
    both files say so.

    Raises:
        RunError: If the folder is not one of a run, or a file in it cannot be parsed.
        DiskError: If a file cannot be written.
    """
    run = read(run_dir, most_answers=MOST_ROWS)
    run = replace(run, unread=unread_rows(run_dir, MOST_ROWS))
    log.info(f"writing report.html and README.md into {run_dir}")
    paths = RunPaths(run_dir)
    for path, text in ((paths.report, build_html(run)), (paths.card, build_card(run))):
        write_text(path, text)
