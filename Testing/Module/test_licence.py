"""Nobody registers without having accepted the licence of weights and template, once on each computer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import slicer
from standin.clicking import wait_until, worker_command

ROOT = Path(__file__).parents[2]


@pytest.fixture
def licence(panel):
    """A computer on which nothing was accepted yet."""
    from ULAERegistrationParts import licence

    licence.setAccepted(False)
    panel.enter()
    return licence


def test_the_licence_is_that_of_the_shipped_weights(licence, panel):
    card = json.loads((ROOT / "ULAERegistrationLib" / "models" / "ulae-t1-brain.json").read_text())
    assert card["licence"].startswith(licence.LICENCE)
    assert licence.LICENCE in panel.ui.licenceCheckBox.text
    assert licence.LICENCE in (ROOT / "CMakeLists.txt").read_text()


def test_the_button_asks_for_the_licence_until_the_box_is_ticked(licence, panel, pair, module):
    panel.enter()
    button = panel.ui.registerButton
    assert (button.text, button.enabled) == ("Accept the licence", False)
    panel.ui.licenceCheckBox.click()
    assert (button.text, button.enabled) == ("Register", True)
    slicer.modules.ULAERegistrationWidget.onReload()
    assert module.widgetRepresentation().self().ui.licenceCheckBox.checked  # remembered, in no scene
    assert module.widgetRepresentation().self().ui.registerButton.text == "Register"


def test_weights_of_ones_own_are_asked_for_too_because_the_template_is_used_with_them(licence, panel, pair):
    from ULAERegistrationLib.errors import RegistrationError

    panel.enter()
    panel.ui.modelPathEdit.setCurrentPath("/models/mine.safetensors")
    assert not panel.ui.registerButton.enabled
    with pytest.raises(RegistrationError, match=r"The shipped weights and the template are under CC BY-NC 4.0"):
        panel.logic.register(*pair, model="/models/mine.safetensors")


def test_a_script_is_told_what_to_do(licence, panel, pair, app):
    from ULAERegistrationLib.errors import RegistrationError  # the one of now: a reload makes another

    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(RegistrationError, match=r"CC BY-NC 4.0, for research .* acceptLicence=True"):
        panel.logic.register(*pair)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    panel.logic.workerCommand = worker_command()
    assert panel.logic.register(*pair, acceptLicence=True).state == "done"
    assert not licence.accepted()  # this run's word holds for this run
    licence.setAccepted(True)
    run = panel.logic.register(*pair, waitForCompletion=False)
    wait_until(app, lambda: run.state != "running")
    assert run.state == "done"
