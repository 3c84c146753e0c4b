"""How a result was computed: enough to repeat it, and to see why two results differ."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from . import __version__
from .files.volumes import NAME, SHA256
from .geometry.affine import to_matrix
from .network.weights import Card
from .settings import RegistrationSettings

PACKAGES = ("torch", "SimpleITK", "numpy")


@dataclass(frozen=True)
class Provenance:
    """Inputs, settings, device, weights and versions of a registration.

    Attributes:
        inputs: what was registered, by "fixed", "moving", "fixed_mask", "moving_mask" and "initial_transform": of an
            image the name of its file or node and the file's SHA-256, as far as known; of the initial transform its
            matrix, 4 x 4 (LPS mm). What was not given is missing.
        settings: as used, every field by name.
        device: where the network's convolutions ran: "cpu", "cuda", "mps"; empty where it did not run.
        precision: number type of the convolutions: "float32", "bfloat16", "float16"; empty where they did not run.
        threads: number of torch's threads on the CPU.
        weights: name of the weights file, without its ending.
        weights_sha256: SHA-256 of that file as its card states it; empty where the card does not.
        versions: of this software, torch, SimpleITK and numpy, by name.
        machine: operating system, processor and Python.
    """

    inputs: dict[str, Any]
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


def provenance_of(
    images: Mapping[str, sitk.Image | None],
    initial_transform: sitk.Transform | None,
    settings: RegistrationSettings,
    card: Card,
    device: str,
    precision: str,
) -> Provenance:
    """Collect the provenance of a registration that has just been computed in this process.

    Args:
        images: those that were given, by the names that `Provenance.inputs` has for them.
        initial_transform: as given; linear.
        settings: as used.
        card: of the weights.
        device, precision: where and in which number type the network's convolutions ran.
    """
    inputs: dict[str, Any] = {role: _source(image) for role, image in images.items() if image is not None}
    if initial_transform is not None:
        inputs["initial_transform"] = np.round(to_matrix(initial_transform), 9).tolist()
    return Provenance(
        inputs=inputs,
        settings=asdict(settings),
        device=device,
        precision=precision,
        threads=torch.get_num_threads(),
        weights=card.name,
        weights_sha256=str(card.details.get("sha256", "")),
        versions={"ULAERegistration": __version__, **{package: _version(package) for package in PACKAGES}},
        machine=f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
    )


def _source(image: sitk.Image) -> dict[str, str]:
    keys = {"name": NAME, "sha256": SHA256}
    return {what: image.GetMetaData(key) for what, key in keys.items() if image.HasMetaDataKey(key)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
