"""Deformable registration of two brain MR scans with ULAE-net (Shu et al., MICCAI 2021).

>>> from ULAERegistrationLib import register
>>> registration = register("fixed.nii.gz", "moving.nii.gz")  # doctest: +SKIP
>>> registration.save("result")  # doctest: +SKIP

The names below are imported on first use, so that Slicer can import the modules of this package that need no torch
(`process.job`, `mrml`) on a machine without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, which cannot see what __getattr__ imports
    from .errors import Cancelled, RegistrationError
    from .registration import register
    from .result import Registration, Step
    from .settings import RegistrationSettings

__version__ = "0.2.0"
__all__ = [
    "Cancelled",
    "Registration",
    "RegistrationError",
    "RegistrationSettings",
    "Step",
    "__version__",
    "register",
]

_MODULES = {
    "register": "registration",
    "Registration": "result",
    "Step": "result",
    "Cancelled": "errors",
    "RegistrationError": "errors",
    "RegistrationSettings": "settings",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
