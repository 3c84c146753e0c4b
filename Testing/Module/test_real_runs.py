"""The panel and the self test with the real worker, the real network and the shipped weights."""

from __future__ import annotations

import pytest
import SampleData
import SimpleITK as sitk
import slicer
from standin.clicking import add_volume, behave, leftovers, state_of, wait_for_stage, wait_until

from ULAERegistrationLib.network.weights import SHIPPED

pytestmark = pytest.mark.skipif(not SHIPPED.is_file(), reason=f"the shipped weights are not at {SHIPPED}")


@pytest.fixture
def real(panel, scene):
    """The panel with its own worker, the shipped template and a simulated subject."""
    panel.logic.workerCommand = None
    pair = [SampleData.SampleDataLogic().downloadSample(f"ULAE {name}") for name in ("template", "simulated subject")]
    panel.enter()
    panel.ui.presetComboBox.setCurrentText("Fast")
    panel.ui.deviceComboBox.setCurrentText("cpu")
    return panel, pair


def test_the_self_test_passes(module, scene):
    slicer.selfTests["ULAERegistration"]()


def test_a_real_registration_is_cancelled_in_the_network(real, scene, app):
    panel, _ = real
    before = state_of(scene)
    behave(panel, "hang", "Network, step 1 of 3", "real")  # the network may be done before anybody has read so
    panel.ui.registerButton.click()
    wait_for_stage(app, panel, "Network, step 1 of 3")
    panel.ui.registerButton.click()
    assert not leftovers()[0]
    assert state_of(scene) == before


def test_an_image_that_is_no_brain_is_refused_in_one_sentence(real, scene, app):
    panel, _ = real
    before = state_of(scene)
    empty = sitk.Image(64, 64, 64, sitk.sitkInt16)
    panel.ui.movingVolumeSelector.setCurrentNode(add_volume(scene, empty, "empty"))
    panel.ui.registerButton.click()
    wait_until(app, lambda: not panel.registerPanel.isRunning())
    assert panel.ui.stageLabel.text.startswith("The moving image has the same value 0 everywhere")
    assert before.items() <= state_of(scene).items()
