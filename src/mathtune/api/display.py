"""How results are shown: as text, as a table in a notebook, as a pandas DataFrame."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mathtune.errors import MissingPackage

if TYPE_CHECKING:
    import pandas


def data_frame(rows: Iterable[Mapping[str, Any]]) -> pandas.DataFrame:
    """Return rows as a DataFrame.

    Raises:
        MissingPackage: If pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackage(
            "to_pandas() needs the package pandas, which is not installed; run pip install pandas"
        ) from error
    return pandas.DataFrame(list(rows))


def html_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with a title for a notebook's output; all text is escaped."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    header = f"<thead>{line(head, 'th')}</thead>" if any(head) else ""
    body = "".join(line(row, "td") for row in rows)
    return f"<table><caption>{html.escape(title)}</caption>{header}<tbody>{body}</tbody></table>"
