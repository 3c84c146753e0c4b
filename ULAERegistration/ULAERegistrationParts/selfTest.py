"""The module's own test, which runs inside Slicer."""

# ruff: noqa: PT009 - Slicer's test case is unittest's
import tempfile
import time
from pathlib import Path

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from . import dependencies, licence, maps, sampleData
from .outputs import Outputs
from .registerPanel import SELECT_FIXED

MOST_SECONDS_OF_CANCEL = 10  # ending the process and removing its folder wait for 7 s at most, on Windows


class ULAERegistrationTest(ScriptedLoadableModuleTest):
    """The module's own test, in Slicer ("Reload and Test", CTest, Testing/in-slicer.sh) and in the stand-in.

    What needs torch is passed over with a message where it is not installed: in testing mode nothing is installed.
    """

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.accepted = licence.accepted()
        licence.setAccepted(True)  # for the test alone

    def tearDown(self):
        licence.setAccepted(self.accepted)

    def test_sampleDataAreOffered(self):
        """Both data sets come from Sample Data, under their names and with voxels."""
        for node, name in zip(self.loadPair(), ("ULAETemplate", "ULAESimulatedSubject"), strict=True):
            self.assertTrue(node.GetName().startswith(name))
            self.assertGreater(node.GetImageData().GetScalarRange()[1], 100)

    def test_panelSaysWhatIsMissing(self):
        """A fresh panel asks for its inputs, in words, on the button, and takes the two volumes it finds."""
        panel = self.openPanel()
        self.assertFalse(panel.ui.registerButton.enabled)
        self.assertEqual(panel.ui.registerButton.text, SELECT_FIXED)
        fixed, moving = self.loadPair()
        panel.enter()
        self.assertIs(panel.ui.fixedVolumeSelector.currentNode(), fixed)
        self.assertIs(panel.ui.movingVolumeSelector.currentNode(), moving)
        self.assertTrue(panel.ui.registerButton.enabled)

    def test_choicesAreSavedWithTheScene(self):
        """What was chosen in the panel is there again after the scene was saved, closed and loaded."""
        panel = self.openPanel()
        self.loadPair()
        panel.enter()
        panel.ui.presetComboBox.setCurrentText("Smooth")
        panel.ui.smoothnessSlider.value = 2.5
        panel.ui.swapButton.click()
        self.saveAndLoad()
        self.assertEqual(panel.ui.presetComboBox.currentText, "Smooth")
        self.assertEqual(panel.ui.smoothnessSlider.value, 2.5)
        self.assertTrue(panel.ui.fixedVolumeSelector.currentNode().GetName().startswith("ULAESimulatedSubject"))
        self.assertTrue(panel.ui.movingVolumeSelector.currentNode().GetName().startswith("ULAETemplate"))

    def test_registersTheSimulatedSubject(self):
        """The subject comes closer to the template; what belongs to it comes along; the result can be saved."""
        if self.torchIsMissing():
            return
        from ULAERegistration import ULAERegistrationLogic  # that file imports this one

        fixed, moving = self.loadPair()
        segmentation = self.segmentBrain(moving)
        outputs = Outputs(alsoTransform=[segmentation])
        run = ULAERegistrationLogic().register(fixed, moving, outputs=outputs, preset="fast")
        self.assertEqual(run.state, "done")
        self.assertGreater(run.quality["ncc_after"], run.quality["ncc_before"])
        self.assertEqual(run.volumeNode.GetImageData().GetDimensions(), fixed.GetImageData().GetDimensions())
        dice = maps.dice(self.segmentBrain(fixed), run.carriedNodes[0], fixed)
        self.assertGreater(dice["brain"], 0.93)
        point = [0.0, -20.0, 10.0]
        before = run.transformNode.GetTransformFromParent().TransformPoint(point)
        name = run.transformNode.GetName()
        self.saveAndLoad()
        after = slicer.util.getNode(name).GetTransformFromParent().TransformPoint(point)
        self.assertLess(max(abs(a - b) for a, b in zip(before, after, strict=True)), 1e-3)

    def test_cancelLeavesTheSceneAsItWas(self):
        """A click on Cancel ends the process at once; the scene has no node more than before."""
        if self.torchIsMissing():
            return
        panel = self.openPanel()
        self.loadPair()
        panel.enter()
        count = slicer.mrmlScene.GetNumberOfNodes()
        panel.ui.registerButton.click()
        self.assertTrue(panel.registerPanel.isRunning())
        run = panel.registerPanel.run
        self.waitUntil(lambda: run.fraction > 0 or run.state != "running")
        began = time.monotonic()
        panel.ui.registerButton.click()
        self.assertLess(time.monotonic() - began, MOST_SECONDS_OF_CANCEL)
        self.assertEqual(run.state, "cancelled")
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), count)
        self.assertFalse(run.folder.exists())

    # --- what the tests are made of ---

    def openPanel(self):
        """The panel as it is when the user opens the module."""
        panel = slicer.modules.ulaeregistration.widgetRepresentation().self()
        panel.enter()
        return panel

    def loadPair(self):
        """The template and the simulated subject, through Slicer's Sample Data module."""
        import SampleData

        logic = SampleData.SampleDataLogic()
        return logic.downloadSample(sampleData.TEMPLATE), logic.downloadSample(sampleData.SUBJECT)

    def segmentBrain(self, volume):
        """A segmentation of what is not background, with the one segment "brain"."""
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "brain")
        labels.CopyOrientation(volume)
        brain = (slicer.util.arrayFromVolume(volume) > 0).astype("uint8")
        slicer.util.updateVolumeFromArray(labels, brain)
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{volume.GetName()} brain")
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segmentation)
        segmentation.GetSegmentation().GetNthSegment(0).SetName("brain")
        slicer.mrmlScene.RemoveNode(labels)
        return segmentation

    def saveAndLoad(self):
        """Saves the scene as .mrb, closes it and loads it again, as the user does."""
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene.mrb")
            self.assertTrue(slicer.mrmlScene.WriteToMRB(path))
            slicer.mrmlScene.Clear(0)
            self.assertTrue(slicer.mrmlScene.ReadFromMRB(path))
        self.openPanel()

    def torchIsMissing(self) -> bool:
        names = ", ".join(dependencies.missing())
        if names:
            self.delayDisplay(f"Passed over: {names} is not installed")
        return bool(names)

    def waitUntil(self, condition, seconds: float = 120):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, "waited too long")
            slicer.app.processEvents()
            time.sleep(0.05)
