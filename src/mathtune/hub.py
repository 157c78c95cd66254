"""The Hugging Face Hub: whether it answers, and single files of its model repositories.

Its own client retries for half a minute if the hub is out of reach; one request first cuts that to
seconds.
"""

from __future__ import annotations

import functools
import os
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
    from huggingface_hub import errors as hub
    from huggingface_hub import hf_hub_download

    unreachable = None if cached_only else why_unreachable()
    local = cached_only or unreachable is not None
    try:
        return Path(hf_hub_download(name, file, revision=revision, local_files_only=local))
    except hub.LocalEntryNotFoundError as error:
        if cached_only:
            return None
        raise ModelError(fetch_fault(name, error, revision)) from error
    except hub.EntryNotFoundError:
        return None
    except Exception as error:  # the HTTP library, and so its errors, differ by version
        if not isinstance(error, (hub.HFValidationError, OSError)) and not is_of_network(error):
            raise
        raise ModelError(fetch_fault(name, error, revision)) from error


def fetch_fault(name: str, error: Exception, revision: str | None = None) -> str:
    """Return the sentence for a model that was not fetched, with the page or command that helps.

    Args:
        name: ``owner/name``.
        error: What ``huggingface_hub`` raised.
        revision: Branch, tag or commit that was asked for.
    """
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    page = f"{constants.ENDPOINT}/{name}"
    if isinstance(error, hub.GatedRepoError):
        if not has_token():
            return (
                f"model {name!r} is gated, and there is no token here; accept its licence at "
                f"{page} and run `hf auth login`"
            )
        return (
            f"model {name!r} is gated, and the account of this token has no access to it; accept "
            f"its licence at {page} (some makers take a while to answer) and give the same command "
            "again"
        )
    if _is_refused(error):
        return refused_token(f"model {name!r}")
    if isinstance(error, hub.RevisionNotFoundError):
        return f"model {name!r} has no revision {revision!r}; give a branch, tag or commit of it"
    if isinstance(error, hub.RepositoryNotFoundError):
        return (
            f"model {name!r} is neither a folder here nor a model at {constants.ENDPOINT}; check "
            "the id, or run `hf auth login` if it is private"
        )
    if isinstance(error, hub.HFValidationError):
        return (
            f"model {name!r} is neither a folder here nor a hub id such as google/gemma-2b; "
            "correct it"
        )
    why = why_unreachable()
    if why is None and is_of_network(error):
        return (
            f"the download of model {name!r} was cut off ({_short(error)}); give the same command "
            "again, which continues it"
        )
    return out_of_reach(name, why or _short(error))


def push_fault(repo: str, error: Exception) -> str:
    """Return the sentence for a push that failed, with the page or command that helps.

    Args:
        repo: ``owner/name``.
        error: What ``huggingface_hub`` raised.
    """
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    if isinstance(error, hub.HFValidationError):
        return f"--repo {repo} is not a repository's name; give OWNER/NAME, as in me/gemma-gsm8k"
    if _is_refused(error):
        return refused_token(f"pushing to {repo}")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 403:
        return (
            f"this token may not write to {repo}; make one with write access at "
            f"{constants.ENDPOINT}/settings/tokens and run `hf auth login`, or give a --repo of "
            "your own"
        )
    if isinstance(error, hub.RepositoryNotFoundError):
        return f"{repo} does not exist and could not be made; check the owner's name"
    if status is not None and 400 <= status < 500:
        return f"the hub refused the push to {repo} ({_short(error)}); nothing is in the repository"
    return (
        f"the push to {repo} was cut off ({_short(error)}); nothing is in the repository yet: give "
        "the same command again, which continues it"
    )


def without_token(what: str) -> str:
    """Return the sentence for something that needs a token where there is none."""
    from huggingface_hub import constants

    return (
        f"{what} needs a token, and there is none here; make one at "
        f"{constants.ENDPOINT}/settings/tokens and run `hf auth login`, or set HF_TOKEN"
    )


def refused_token(what: str) -> str:
    """Return the sentence for a token that the hub does not know."""
    from huggingface_hub import constants

    where = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "`hf auth login`"
    return (
        f"{what}: the hub does not accept the token from {where}; make another at "
        f"{constants.ENDPOINT}/settings/tokens and run `hf auth login`"
        + (" after unset HF_TOKEN" if where == "HF_TOKEN" else "")
    )


def is_of_network(error: BaseException | None) -> bool:
    """Return whether an error, or what it was raised from, is one of the HTTP library."""
    while error is not None:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
            return True
        if isinstance(error, ConnectionError | TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_refused(error: Exception) -> bool:
    """Return whether the hub refused the token itself, not what it may do."""
    response = getattr(error, "response", None)
    if getattr(response, "status_code", None) != 401:
        return False
    said = str(getattr(response, "headers", {}).get("X-Error-Message", ""))
    return "Invalid credentials" in said or "Invalid username or password" in said


def _short(error: Exception) -> str:
    """Return an error's first sentence on one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")


def out_of_reach(name: str, why: str) -> str:
    """Return the error for a model that can neither be fetched nor found in the cache."""
    return (
        f"model {name!r} could not be fetched from the Hugging Face Hub ({why}) and is not in its "
        "cache; connect to the network, or download it elsewhere and give its folder"
    )
