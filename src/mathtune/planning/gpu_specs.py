"""Devices to plan for, by name: memory and peak rates as published by their vendors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mathtune.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Device:
    """A device to plan for.

    Attributes:
        name: As shown to users.
        kind: ``cuda`` (also AMD's, which PyTorch also calls cuda) or ``cpu``.
        memory: Bytes; None where unknown.
        bf16: FLOP/s of dense bf16 matrix products with float32 accumulation; None where they are
            only emulated or the rate is unknown.
        fp16: The same in float16.
        fp32: The same in float32 without TF32, which PyTorch leaves off by default.
        native_bf16: Whether training uses bf16.
        measured: Whether the rates were measured here, not published.
        link: Bytes per second that it sends to other GPUs of its machine; None where unknown.
        network: Bytes per second and GPU that machines built for it send each other; None where
            there is no such machine.
    """

    name: str
    kind: str
    memory: int | None
    bf16: float | None = None
    fp16: float | None = None
    fp32: float | None = None
    native_bf16: bool = True
    measured: bool = False
    link: float | None = None
    network: float | None = None


BUSY = {"cuda": (0.25, 0.40, 0.55), "cpu": (0.50, 0.70, 0.85)}
"""Share of the matrix-product rate that fine-tuning reaches, at worst, usually and at best: of the
published rate on GPUs, which short examples do not saturate; of the measured rate on a CPU."""

START_SECONDS = {"cuda": (20e-6, 10e-6, 6e-6), "cpu": (0.0, 0.0, 0.0)}
"""Seconds PyTorch takes to launch a kernel on a GPU, at worst, usually and at best. Small
micro-batches cannot go faster than this, however fast the card is."""

_MIB, _GIGA, _TERA = 2**20, 1e9, 1e12


def _gpu(
    name: str,
    mib: int,
    bf16: float | None,
    fp16: float,
    fp32: float,
    link: float,
    network: float | None = None,
) -> tuple[str, Device]:
    return _plain(name), Device(
        name,
        "cuda",
        mib * _MIB,
        bf16=None if bf16 is None else bf16 * _TERA,
        fp16=fp16 * _TERA,
        fp32=fp32 * _TERA,
        native_bf16=bf16 is not None,
        link=link * _GIGA,
        network=None if network is None else network * _GIGA / 8,
    )


def _plain(name: str) -> str:
    words = re.sub(r"nvidia|geforce|tesla|amd|instinct|[^a-z0-9]", "", name.lower())
    return words.removesuffix("gb")


# Memory in MiB as the driver shows it, with ECC where it is on by default; TFLOP/s of bf16, float16
# and float32. GeForce cards accumulate 16-bit products in float32 at half the advertised rate. Then
# GB/s to other GPUs of a machine, in one direction: NVLink or Infinity Fabric of the SXM and OAM
# modules, else PCIe with 16 lanes; and Gbit/s and GPU between the vendors' own machines (DGX A100:
# 8 × 200, DGX H100: 8 × 400; the same for MI300X).
GPUS = dict(
    (
        _gpu("T4", 15_360, None, 65, 8.1, 16),
        _gpu("V100 16GB", 16_384, None, 125, 15.7, 150),
        _gpu("V100 32GB", 32_768, None, 125, 15.7, 150),
        _gpu("RTX 2080 Ti", 11_264, None, 53.8, 13.4, 16),
        _gpu("RTX 3060", 12_288, 25.3, 25.3, 12.7, 32),
        _gpu("RTX 3090", 24_576, 71, 71, 35.6, 32),
        _gpu("RTX 4070", 12_282, 58.3, 58.3, 29.1, 32),
        _gpu("RTX 4090", 24_564, 165.2, 165.2, 82.6, 32),
        _gpu("RTX 5090", 32_607, 209.5, 209.5, 104.8, 64),
        _gpu("RTX A6000", 49_140, 154.8, 154.8, 38.7, 32),
        _gpu("A10", 23_028, 125, 125, 31.2, 32),
        _gpu("L4", 23_034, 121, 121, 30.3, 32),
        _gpu("L40S", 46_068, 362, 362, 91.6, 32),
        _gpu("A100 40GB", 40_960, 312, 312, 19.5, 300, 200),
        _gpu("A100 80GB", 81_920, 312, 312, 19.5, 300, 200),
        _gpu("H100 PCIe", 81_559, 756, 756, 51, 64),
        _gpu("H100 SXM", 81_559, 989, 989, 67, 450, 400),
        _gpu("H200", 143_771, 989, 989, 67, 450, 400),
        _gpu("MI300X", 196_592, 1307, 1307, 163.4, 448, 400),
    )
)

_SHORT = {"v100": "V100 16GB", "a100": "A100 40GB", "h100": "H100 SXM", "a6000": "RTX A6000"}


def find_gpu(name: str) -> Device:
    """Return a GPU by name, in any spelling: ``RTX 4090``, ``rtx4090``, ``4090``.

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
    """Read ``24GB``, ``24 GiB``, ``512M``: powers of 1,024, as on memory labels.

    Raises:
        ConfigError: It is not a size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    size = float(found[1]) * 1024 ** " kmgt".index(found[2] or " ") if found else 0
    if not found or size < _MIB:
        raise ConfigError(f"--memory={text} is not a memory size; use for example 24GB or 512MB")
    return round(size)
