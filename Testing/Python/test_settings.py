"""Settings refuse what they do not know, and the package opens without torch."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

import ULAERegistrationLib
from ULAERegistrationLib import RegistrationError, RegistrationSettings
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.settings import PRESETS, PresetName


def test_the_help_says_what_every_preset_does(capsys):
    assert list(PRESETS) == list(get_args(PresetName))
    with pytest.raises(SystemExit):
        main(["register", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for name, preset in PRESETS.items():
        assert f"{name}: {preset.summary}" in words


def test_fast_refines_nothing_and_smooth_leaves_no_fold():
    assert not PRESETS["fast"].refines
    assert PRESETS["smooth"].folds_allowed == 0 < PRESETS["accurate"].folds_allowed


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("preset", "best", "fast, accurate, smooth"),
        ("alignment", "bspline", "auto, affine, rigid, centre, none"),
        ("device", "gpu", "auto, cpu, cuda, mps"),
        ("precision", "int8", "float32"),
        ("brain", "never", "auto, given, skip"),
        ("refinement_iterations", -1, "0 or more"),
        ("smoothness", float("nan"), "0 or more"),
        ("smoothness", float("inf"), "0 or more"),
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
