"""The Hugging Face Hub: whether it answers, and single files of its model repositories.

Its own client retries for half a minute if the hub is out of reach; one request first cuts that to
seconds.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from mathtune.errors import ModelError

REACH_SECONDS = 5.0
"""How long to wait for any answer of the hub before using its cache on disk."""


@functools.cache
def why_unreachable() -> str | None:
    """Send the hub one request per process; return why there is no answer, or None."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    why: list[str | None] = []

    def ask() -> None:
        try:
            get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
            why.append(None)
        except Exception as error:  # the HTTP library, and so its errors, differ by version
            why.append(str(error) or type(error).__name__)

    # The client's own timeout restarts with each byte, and a server may send them one by one.
    thread = threading.Thread(target=ask, name="mathtune-hub", daemon=True)
    thread.start()
    thread.join(2 * REACH_SECONDS)  # to connect, and to answer
    found = why[0] if why else f"no complete answer within {2 * REACH_SECONDS:g} seconds"
    return found and f"{constants.ENDPOINT}: {found}"


def has_token() -> bool:
    """Return whether there is a token for the hub, in the environment or from ``hf auth login``."""
    from huggingface_hub import get_token

    return get_token() is not None


def model_file(name: str, file: str, revision: str | None, *, cached_only: bool) -> Path | None:
    """Return the path of one file of a model on the hub, fetched if it is not in the cache.

    Args:
        name: ``owner/name``.
        file: For example ``config.json``.
        revision: Branch, tag or commit.
        cached_only: Use only the cache.

    Returns:
        The path; None if the repository has no such file, or with ``cached_only`` if it is not
        cached.

    Raises:
        ModelError: There is no such repository or revision, it is gated, or the hub cannot be
            reached and the file is not in its cache.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub import errors as hub

    unreachable = None if cached_only else why_unreachable()
    local = cached_only or unreachable is not None
    try:
        return Path(hf_hub_download(name, file, revision=revision, local_files_only=local))
    except hub.LocalEntryNotFoundError as error:
        if cached_only:
            return None
        raise ModelError(out_of_reach(name, unreachable or str(error))) from error
    except hub.EntryNotFoundError:
        return None
    except hub.GatedRepoError as error:
        raise ModelError(
            f"model {name!r} is gated; accept its licence at {constants.ENDPOINT}/{name} and run "
            "`hf auth login`"
        ) from error
    except hub.RepositoryNotFoundError as error:
        raise ModelError(
            f"model {name!r} is neither a folder here nor a model at {constants.ENDPOINT}; check "
            "the id, or run `hf auth login` if it is private"
        ) from error
    except hub.RevisionNotFoundError as error:
        raise ModelError(
            f"model {name!r} has no revision {revision!r}; give a branch, tag or commit of it"
        ) from error
    except hub.HFValidationError as error:
        raise ModelError(
            f"model {name!r} is neither a folder here nor a hub id such as google/gemma-2b; "
            "correct it"
        ) from error
    except (hub.HfHubHTTPError, OSError) as error:
        raise ModelError(out_of_reach(name, " ".join(str(error).split()))) from error


def out_of_reach(name: str, why: str) -> str:
    """Return the error for a model that can neither be fetched nor found in the cache."""
    return (
        f"model {name!r} could not be fetched from the Hugging Face Hub ({why}) and is not in its "
        "cache; connect to the network, or download it elsewhere and give its folder"
    )
