"""Settings refuse what they do not know, and the package opens without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ULAERegistrationLib
from ULAERegistrationLib import RegistrationError, RegistrationSettings


def test_the_defaults_are_what_a_clinician_wants():
    settings = RegistrationSettings()
    assert (settings.preset, settings.alignment, settings.device) == ("accurate", "affine", "auto")


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("preset", "best", "fast, accurate, smooth"),
        ("alignment", "bspline", "affine, rigid, centre, none"),
        ("device", "gpu", "auto, cpu, cuda, mps"),
        ("precision", "int8", "float32"),
        ("refinement_iterations", -1, "0 or more"),
        ("smoothness", float("nan"), "0 or more"),
        ("field_spacing", 20.0, "0.5 to 5 mm"),
    ],
)
def test_an_unknown_value_is_refused_with_the_choices(field, value, hint):
    with pytest.raises(RegistrationError, match=hint):
        RegistrationSettings(**{field: value})


def test_the_package_opens_without_torch():
    """Slicer imports it at start-up, before PyTorch is installed."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['SimpleITK'] = None; "
        "import ULAERegistrationLib, ULAERegistrationLib.process.job; ULAERegistrationLib.RegistrationSettings()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    for name in ULAERegistrationLib.__all__:
        assert getattr(ULAERegistrationLib, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        ULAERegistrationLib.nonsense  # noqa: B018
