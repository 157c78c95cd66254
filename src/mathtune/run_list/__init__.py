"""The run folders below a root: what each is, how far it is, what it found; and deleting them."""

from mathtune.run_list.delete import delete, to_delete
from mathtune.run_list.find import find_runs, is_run
from mathtune.run_list.listing import SORTS, list_runs
from mathtune.run_list.summary import RunSummary, summary_of

__all__ = [
    "SORTS",
    "RunSummary",
    "delete",
    "find_runs",
    "is_run",
    "list_runs",
    "summary_of",
    "to_delete",
]
