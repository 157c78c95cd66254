"""Sets from the Hugging Face Hub through ``datasets``; one clear sentence where that fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mathtune.errors import DataError, did_you_mean
from mathtune.hub import why_unreachable
from mathtune.problems.files import SourceRow


def hub_rows(
    hub_id: str,
    subset: str | None,
    split: str,
    *,
    revision: str | None = None,
    local_file: str | None = None,
) -> tuple[Iterator[SourceRow], str]:
    """Load one split from the hub, or from its cache on disk if the hub cannot be reached.

    Args:
        hub_id: ``owner/name``.
        subset: Configuration; None where the repository has only one.
        split: Split, in the syntax of ``datasets`` (``train+test``).
        revision: Branch, tag or commit.
        local_file: File below ``MATHTUNE_DATA_DIR`` that would be read instead, for the message.

    Returns:
        The rows, and where they came from: ``"hub"`` or ``"hub cache"`` with the first 8 digits of
        the commit.

    Raises:
        DataError: The hub cannot be reached and the set is not in its cache, or there is no such
            repository, subset, split or revision.
    """
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    if Path(hub_id).is_dir():  # ``datasets`` would silently read it in place of the repository
        raise DataError(
            f"{hub_id} is a hub id and also a folder here; to read the folder's files give one as "
            "path, to read the hub start from another folder"
        )
    unreachable = why_unreachable()
    try:
        with _offline_if(unreachable is not None), _quiet():
            found = datasets.load_dataset(hub_id, subset, split=split, revision=revision)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(
            f"{error} Check the name, or log in with `hf auth login` if it is private or gated"
        ) from error
    except (ConnectionError, HfHubHTTPError) as error:
        raise DataError(_out_of_reach(hub_id, unreachable or str(error), local_file)) from error
    except (ValueError, OSError) as error:
        if unreachable is not None:
            raise DataError(_out_of_reach(hub_id, unreachable, local_file)) from error
        raise DataError(_not_in_repository(hub_id, subset, split, str(error))) from error
    commit = _commit(found)
    if unreachable is not None and revision is not None and not commit.startswith(revision):
        raise DataError(
            f"the hub cannot be reached ({unreachable}) and its cache holds {hub_id} at "
            f"{commit[:8]}, not at {revision}; connect to the network or leave the revision out"
        )
    rows = (
        SourceRow(f"{hub_id}, row {number:,}", values)
        for number, values in enumerate(found, start=1)
    )
    return rows, f"hub{' cache' if unreachable else ''} {commit[:8]}".strip()


def _out_of_reach(hub_id: str, why: str, local_file: str | None) -> str:
    folder = f", or set MATHTUNE_DATA_DIR to a folder with {local_file}" if local_file else ""
    return (
        f"{hub_id} could not be fetched from the Hugging Face Hub ({why}) and is not in its cache; "
        f"connect to the network, or give a local file as path{folder}"
    )


def _not_in_repository(hub_id: str, subset: str | None, split: str, why: str) -> str:
    """Name the subsets or splits that exist; ``datasets`` asks the hub for it."""
    import datasets

    try:
        subsets = datasets.get_dataset_config_names(hub_id)
        if (subset or "default") not in subsets and (subset or len(subsets) > 1):
            return (
                f"{hub_id} has no subset {subset!r}{did_you_mean(subset or '', subsets) or '.'} "
                f"Set subset to one of: {', '.join(subsets)}"
            )
        splits = [str(name) for name in datasets.get_dataset_split_names(hub_id, subset)]
        if not set(split.split("+")) <= set(splits):
            return (
                f"{hub_id} has no split {split!r}{did_you_mean(split, splits) or '.'} "
                f"Set split to one of: {', '.join(splits)}"
            )
    except (ValueError, OSError) as error:
        why = f"{why}; {error}"
    return f"{hub_id} could not be read from the hub: {' '.join(why.split())}"


def _commit(found: Any) -> str:
    """Commit of the repository: the folder in the cache that holds the prepared files."""
    files = found.cache_files
    return Path(files[0]["filename"]).parent.name if files else ""


@contextmanager
def _offline_if(offline: bool) -> Iterator[None]:
    from datasets import config

    before = config.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = before or offline
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Show progress bars only in a terminal."""
    from datasets.utils import disable_progress_bars, enable_progress_bars

    if os.isatty(2):
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
