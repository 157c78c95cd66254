"""Processors by name: memory and peak rates as their vendors publish them, to plan for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mathtune.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Device:
    """What is planned for.

    Attributes:
        name: For people.
        kind: ``cuda`` (also AMD's, which PyTorch calls so) or ``cpu``.
        memory: Bytes; None where unknown.
        bf16: Dense products in bf16 with float32 sums, FLOP/s; None where they are only emulated
            or the rate is unknown.
        fp16: The same in float16.
        fp32: Products in float32, without TF32, which PyTorch leaves off.
        native_bf16: Whether training takes bf16.
        measured: Whether the rates were measured here, not published.
    """

    name: str
    kind: str
    memory: int | None
    bf16: float | None = None
    fp16: float | None = None
    fp32: float | None = None
    native_bf16: bool = True
    measured: bool = False


BUSY = {"cuda": (0.25, 0.40, 0.55), "cpu": (0.50, 0.70, 0.85)}
"""Share of the products' rate that fine-tuning reaches, at worst, as a rule and at best: on GPUs of
the published rate, which short examples do not fill; on a CPU of a measured one."""

START_SECONDS = {"cuda": (20e-6, 10e-6, 6e-6), "cpu": (0.0, 0.0, 0.0)}
"""What PyTorch takes to start a kernel on a GPU, at worst, as a rule and at best. Small
micro-batches take no less, however fast the card is."""

_MIB, _TERA = 2**20, 1e12


def _gpu(name: str, mib: int, bf16: float | None, fp16: float, fp32: float) -> tuple[str, Device]:
    native = bf16 is not None
    rates = {"bf16": bf16 * _TERA if bf16 else None, "fp16": fp16 * _TERA, "fp32": fp32 * _TERA}
    return _plain(name), Device(name, "cuda", mib * _MIB, **rates, native_bf16=native)  # type: ignore[arg-type]


def _plain(name: str) -> str:
    words = re.sub(r"nvidia|geforce|tesla|amd|instinct|[^a-z0-9]", "", name.lower())
    return words.removesuffix("gb")


# Memory in MiB as the driver shows it, with ECC where it is on by default; TFLOP/s of bf16, float16
# and float32. GeForce cards sum products of 16 bits in float32 at half the advertised rate.
GPUS = dict(
    (
        _gpu("T4", 15_360, None, 65, 8.1),
        _gpu("V100 16GB", 16_384, None, 125, 15.7),
        _gpu("V100 32GB", 32_768, None, 125, 15.7),
        _gpu("RTX 2080 Ti", 11_264, None, 53.8, 13.4),
        _gpu("RTX 3060", 12_288, 25.3, 25.3, 12.7),
        _gpu("RTX 3090", 24_576, 71, 71, 35.6),
        _gpu("RTX 4070", 12_282, 58.3, 58.3, 29.1),
        _gpu("RTX 4090", 24_564, 165.2, 165.2, 82.6),
        _gpu("RTX 5090", 32_607, 209.5, 209.5, 104.8),
        _gpu("RTX A6000", 49_140, 154.8, 154.8, 38.7),
        _gpu("A10", 23_028, 125, 125, 31.2),
        _gpu("L4", 23_034, 121, 121, 30.3),
        _gpu("L40S", 46_068, 362, 362, 91.6),
        _gpu("A100 40GB", 40_960, 312, 312, 19.5),
        _gpu("A100 80GB", 81_920, 312, 312, 19.5),
        _gpu("H100 PCIe", 81_559, 756, 756, 51),
        _gpu("H100 SXM", 81_559, 989, 989, 67),
        _gpu("H200", 143_771, 989, 989, 67),
        _gpu("MI300X", 196_592, 1307, 1307, 163.4),
    )
)

_SHORT = {"v100": "V100 16GB", "a100": "A100 40GB", "h100": "H100 SXM", "a6000": "RTX A6000"}


def find_gpu(name: str) -> Device:
    """Return a GPU by its name, however it is written: ``RTX 4090``, ``rtx4090``, ``4090``.

    Raises:
        ConfigError: It is not in the list.
    """
    wanted = _plain(name)
    wanted = _plain(_SHORT.get(wanted, wanted))
    found = GPUS.get(wanted) or GPUS.get(f"rtx{wanted}")
    if found is None:
        names = {device.name.lower(): device.name for device in GPUS.values()}
        short = {each.partition(" ")[2]: full for each, full in names.items() if " " in each}
        near = did_you_mean(name.lower(), {**short, **names})
        for each, full in {**short, **names}.items():
            near = near.replace(f"{each!r}", f"{full!r}")
        raise ConfigError(
            f"--device={name} is not in the list{near or '.'} Give cpu, one of "
            f"{', '.join(names.values())}, or --memory alone"
        )
    return found


def parse_bytes(text: str) -> int:
    """Read ``24GB``, ``24 GiB``, ``512M``: powers of 1,024, as on the labels of memory.

    Raises:
        ConfigError: It is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    size = float(found[1]) * 1024 ** " kmgt".index(found[2] or " ") if found else 0
    if not found or size < _MIB:
        raise ConfigError(f"--memory={text} is no size; give for example 24GB or 512MB")
    return round(size)
