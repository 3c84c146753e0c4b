"""`ulae info`: list versions, devices and weights."""

from __future__ import annotations

import argparse
import json

from .. import __version__
from ..errors import printable
from .options import Commands, add_command, add_json


def add_info(commands: Commands) -> None:
    """Add the command `ulae info`."""
    command = add_command(
        commands,
        "info",
        _info,
        "Say what is installed: version, devices, weights and their licence.",
        "ulae info",
        "ulae info --json",
    )
    command.add_argument("--model", metavar="FILE", help="weights (.safetensors) instead of the shipped ones")
    add_json(command)


def _info(options: argparse.Namespace) -> None:
    import platform

    import SimpleITK as sitk
    import torch

    from ..network.weights import load_network

    network, card = load_network(options.model)
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append(f"cuda ({torch.cuda.get_device_name()})")
    if torch.backends.mps.is_available():
        devices.append("mps")
    facts = {
        "ulae": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "SimpleITK": sitk.Version.VersionString(),
        "devices": devices,
        "threads": torch.get_num_threads(),
        "weights": card.name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "licence": card.licence,
    }
    if options.json:
        print(json.dumps({**facts, "card": card.details}, indent=2))
        return
    for name, value in facts.items():
        print(f"{name:12} {printable(', '.join(value) if isinstance(value, list) else str(value))}")
