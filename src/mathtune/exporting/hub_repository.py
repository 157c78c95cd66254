"""A model on the Hugging Face Hub, with its card, its figures and every answer behind them.

Large files are uploaded first, one by one, and nothing is in the repository until one commit at the
end puts everything there. The hub keeps what was uploaded, so a push that was cut off continues
with the file it had come to. A new repository is private unless asked otherwise.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mathtune import hub, progress
from mathtune.errors import ConfigError, MathtuneError, ModelError
from mathtune.exporting.card import card_of
from mathtune.exporting.source import Source
from mathtune.text.redaction import redact

log = logging.getLogger(__name__)

MODEL_FILES = (
    "*.safetensors", "*.safetensors.index.json", "*.gguf", "Modelfile", "*.jinja", "*.model",
    "config.json", "generation_config.json", "adapter_config.json", "base.json",
    "quantization.json", "merged_from.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
)  # fmt: skip
"""What is pushed of a model folder; anything else in it stays here."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A push that is complete.

    Attributes:
        repo: ``owner/name``.
        address: Page of the commit.
        private: Whether only the owner sees it.
        files: Number of files.
        bytes: Their size.
    """

    repo: str
    address: str
    private: bool
    files: int
    bytes: int

    def __str__(self) -> str:
        seen = "private" if self.private else "public"
        return f"{self.address}: {self.files} files, {self.bytes / 2**20:,.1f} MB, {seen}"

    def to_json(self) -> dict[str, Any]:
        """Return the same as numbers and texts."""
        return asdict(self)


def push(source: Source, repo: str, *, public: bool) -> Pushed:
    """Push a model to a repository of the hub, making it if necessary.

    Args:
        source: A run, whose figures and answers go with its model, or a model folder.
        repo: ``owner/name``.
        public: Whether everybody may see it.

    Raises:
        ConfigError: The name is not one, or the repository is public and ``public`` was not given.
        ModelError: There is no token, it is not accepted, or the hub cannot be reached; nothing is
            in the repository then, and the same call continues.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    if (why := hub.why_unreachable()) is not None:
        raise ModelError(
            f"the hub cannot be reached ({why}); connect to the network and push again"
        )
    if not hub.has_token():
        raise ModelError(hub.without_token("pushing to the hub"))
    files, texts = _files(source), _texts(source)
    api = HfApi()
    with _in_words(repo):
        private = _made(api, repo, public=public)
        adds = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        sizes = {name: path.stat().st_size for name, path in files.items()}
        total, done = sum(sizes.values()), 0
        with progress.bar(f"uploading to {repo}", total) as bar:
            for add in adds:
                api.preupload_lfs_files(repo, [add], free_memory=False)
                done += sizes[add.path_in_repo]
                bar.update(done, add.path_in_repo)
        adds += [CommitOperationAdd(name, text) for name, text in texts.items()]
        commit = api.create_commit(repo, adds, commit_message=f"{source.name}, by mathtune")
    _report_left(source, files)
    size = total + sum(map(len, texts.values()))
    return Pushed(repo, str(commit.commit_url), private, len(adds), size)


def _files(source: Source) -> dict[str, Path]:
    """Return the model's files by their name in the repository."""
    return {path.name: path for pattern in MODEL_FILES for path in source.folder.glob(pattern)}


def _report_left(source: Source, pushed: dict[str, Path]) -> None:
    names = sorted(path.name for path in source.folder.iterdir())
    if left := [name for name in names if name not in pushed and name != "README.md"]:
        log.info(f"left out {len(left)} files that are not a model's: {', '.join(left[:5])}")


def _texts(source: Source) -> dict[str, bytes]:
    """Return the card, and of a run recipe, figures, report and answers, without secrets."""
    texts = {"README.md": card_of(source).encode()}
    if source.run is None:
        return texts
    run = source.run
    paths = [run.recipe, run.results, run.report, *sorted(run.all_predictions.glob("*.jsonl"))]
    for path in paths:
        if path.is_file():
            name = path.relative_to(run.folder).as_posix()
            text = path.read_text(encoding="utf-8", errors="replace")
            texts[name] = redact(text).encode()
    return texts


def _made(api: Any, repo: str, *, public: bool) -> bool:
    """Make the repository if it is not there; return whether it is private.

    Raises:
        ConfigError: It is there and public, which was not asked for.
    """
    api.create_repo(repo, private=not public, exist_ok=True)
    private = bool(api.repo_info(repo).private)
    if not private and not public:
        raise ConfigError(
            f"repository {repo} exists and is public; give --public to push there, or another "
            "--repo"
        )
    return private


@contextlib.contextmanager
def _in_words(repo: str) -> Iterator[None]:
    """Turn the client's errors into one sentence.

    Raises:
        ModelError: A request failed.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    disable_progress_bars()  # there is one for all files
    try:
        yield
    except MathtuneError:
        raise
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise ModelError(hub.push_fault(repo, error)) from error
    except Exception as error:  # the HTTP library, and so its errors, differ by version
        if not hub.is_of_network(error):
            raise
        raise ModelError(hub.push_fault(repo, error)) from error
    finally:
        enable_progress_bars()
