"""Every option of a registration reaches its settings."""

from __future__ import annotations

from ULAERegistrationLib.cli.main import _parser
from ULAERegistrationLib.cli.options import settings_of
from ULAERegistrationLib.settings import RegistrationSettings


def test_every_option_of_a_registration_is_a_setting_of_it() -> None:
    asked = {"preset": "smooth", "brain": "skip", "contrast": "different", "alignment": "rigid", "device": "cpu"}
    asked |= {"precision": "float32", "model": "own.safetensors", "smoothness": 2.5}
    words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    settings = RegistrationSettings(**asked, refinement_iterations=7)
    for command in (["register", "f", "m", "-o", "o"], ["batch", "t.csv", "-o", "o"]):
        assert settings_of(_parser().parse_args([*command, *words, "--iterations", "7"])) == settings
