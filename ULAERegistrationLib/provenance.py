"""How a result was computed: enough to repeat it, and to see why two results differ."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from . import __version__
from .network.weights import Card
from .settings import RegistrationSettings

PACKAGES = ("torch", "SimpleITK", "numpy")


@dataclass(frozen=True)
class Provenance:
    """Settings, device, weights and versions of a registration.

    Attributes:
        settings: as used, every field by name.
        device: where the network's convolutions ran: "cpu", "cuda", "mps"; empty where it was not needed.
        precision: number type of the convolutions: "float32", "bfloat16", "float16"; empty as well.
        threads: number of torch's threads on the CPU.
        weights: name of the weights file, without its ending.
        weights_sha256: SHA-256 of that file as its card states it; empty where the card does not.
        versions: of this software, torch, SimpleITK and numpy, by name.
        machine: operating system, processor and Python.
    """

    settings: dict[str, Any]
    device: str
    precision: str
    threads: int
    weights: str
    weights_sha256: str
    versions: dict[str, str]
    machine: str

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes by name, for quality.json."""
        return asdict(self)


def provenance_of(settings: RegistrationSettings, card: Card, device: str, precision: str) -> Provenance:
    """Collect the provenance of a registration that has just been computed in this process.

    Args:
        settings: as used.
        card: of the weights.
        device, precision: where and in which number type the network's convolutions ran.
    """
    return Provenance(
        settings=asdict(settings),
        device=device,
        precision=precision,
        threads=torch.get_num_threads(),
        weights=card.name,
        weights_sha256=str(card.details.get("sha256", "")),
        versions={"ULAERegistration": __version__, **{package: _version(package) for package in PACKAGES}},
        machine=f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
