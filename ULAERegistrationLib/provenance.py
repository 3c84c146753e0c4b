"""How a result came about: enough to make it again, and to see why two results differ."""

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
    """What a registration ran with.

    Attributes:
        settings: as used, every field by name.
        device: where the network's convolutions ran: "cpu", "cuda", "mps".
        precision: their type: "float32", "bfloat16", "float16".
        threads: of torch on the CPU.
        weights: the name of their file, without ending.
        weights_sha256: of the file; empty where its card does not say.
        versions: of this software and the packages that compute, by name.
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
        """For quality.json."""
        return asdict(self)


def provenance_of(settings: RegistrationSettings, card: Card, device: str, precision: str) -> Provenance:
    """The provenance of a registration that has just been computed in this process.

    Args:
        settings: as used.
        card: of the weights.
        device, precision: where and in which type the network's convolutions ran.
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
