"""ULAE Registration: deformable registration of two brain MR scans, as a 3D Slicer module.

The mathematics is in ULAERegistrationLib, an ordinary Python package; here are panel and nodes only. Nothing of that
package, torch or SimpleITK is imported before it is used, so that Slicer starts quickly and the panel always appears.
"""

# ruff: noqa: PT009 - Slicer's test case is unittest's
import importlib.util
import logging
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("ULAERegistrationLib") is None:
    # Run from the source tree: Slicer adds this folder only, the library lies beside it.
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from ULAERegistrationParts import dependencies, licence, maps, sampleData
from ULAERegistrationParts.outputs import Outputs, restoreInterpolation
from ULAERegistrationParts.parameters import ParameterBinding, setDefaults
from ULAERegistrationParts.qualityPanel import QualityPanel
from ULAERegistrationParts.registerPanel import RegisterPanel
from ULAERegistrationParts.run import Run, pythonExecutable
from ULAERegistrationParts.stepsPanel import StepsPanel

POLL_MILLISECONDS = 100
LABEL_CLASSES = ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")


class ULAERegistration(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("ULAE Registration")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        self.parent.dependencies = []
        self.parent.contributors = ["AUTHOR-NAME (AUTHOR-ORGANISATION)"]
        self.parent.helpText = _(
            "Deformable registration of two T1 brain MR scans with ULAE-net, a deep network that warps the moving brain"
            " in three accumulating steps. Select a fixed and a moving volume and click Register; in whole heads the"
            " brain is found first. The steps and the quality of the result can then be looked at. The shipped weights"
            " are for research, not for clinical use."
        )
        self.parent.acknowledgementText = _(
            "The method: Y. Shu, H. Wang, B. Xiao, X. Bi, W. Li, Medical Image Registration Based on Uncoupled Learning"
            " and Accumulative Enhancement, MICCAI 2021, doi:10.1007/978-3-030-87202-1_1."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        # Here and not in the panel: a scene may be loaded long before anybody opens the module, or never does.
        slicer.mrmlScene.AddObserver(slicer.mrmlScene.EndImportEvent, onSceneImported)


def onSceneImported(scene, event):
    """Makes results that were loaded the map they were when they were saved."""
    restoreInterpolation(scene)


def registerSampleData():
    """Adds the module's data sets to Slicer's Sample Data module."""
    try:
        sampleData.register(Path(__file__).parent / "Resources")
    except ImportError:  # a Slicer without the Sample Data module
        logging.info("Sample Data module not found; the data sets of ULAE Registration are not offered.")
    except Exception as error:  # the module works without them, so Slicer's start must not show a traceback
        logging.warning(f"The data sets of ULAE Registration are not offered: {error}")


class ULAERegistrationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameterNode = None
        self.binding = None

    # --- life cycle ---

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ULAERegistration.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ULAERegistrationLogic()
        self.stepsPanel = StepsPanel(self.ui)
        self.qualityPanel = QualityPanel(self.ui)
        self.binding = ParameterBinding(self.ui, self.updatePanel)
        self.registerPanel = RegisterPanel(self.ui, self.logic, self.binding, self.onDone)
        self.ui.swapButton.connect("clicked()", self.onSwapButton)
        self.ui.outputTransformSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onResultSelected)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        # After the selectors, which were given the scene above: they lose their nodes one after another at the end of
        # an import and tell it, which must not be taken for the user's choice.
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.setParameterNode(None)  # the panel is brought in line again when it is shown again

    def cleanup(self):
        self.logic.cancelAll()
        self.stepsPanel.cleanup()
        self.setParameterNode(None)
        self.removeObservers()

    def onReload(self):
        for name in list(sys.modules):
            if name.partition(".")[0] in ("ULAERegistrationLib", "ULAERegistrationParts"):
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        self.logic.cancelAll()
        self.setParameterNode(None)
        self.registerPanel.forget()
        self.stepsPanel.setResult(None, {})
        self.qualityPanel.setResult(None, "")

    def onSceneStartImport(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndImport(self, caller, event):
        self.onSceneEndClose(caller, event)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, node):
        if self.parameterNode is not None:
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.binding.toPanel)
        self.parameterNode = node
        if node is not None:
            setDefaults(node)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self.binding.toPanel)
        self.binding.setNode(node)

    # --- the panel's own ---

    def updatePanel(self):
        """Brings what depends on the choices in line with them."""
        self.registerPanel.update()
        self.qualityPanel.update()

    def onSwapButton(self):
        node = self.parameterNode
        modifying = node.StartModify()
        for one, other in (("FixedVolume", "MovingVolume"), ("FixedMask", "MovingMask")):
            first, second = node.GetNodeReferenceID(one), node.GetNodeReferenceID(other)
            node.SetNodeReferenceID(one, second)
            node.SetNodeReferenceID(other, first)
        node.EndModify(modifying)

    def onResultSelected(self, node=None):
        """Shows steps and quality of the chosen transform."""
        run = self.registerPanel.run
        own = run is not None and run.state == "done" and run.transformNode is node
        self.stepsPanel.setResult(node, run.steps if own else {})
        self.qualityPanel.setResult(node, run.report if own else "")

    def onDone(self, run):
        """Selects the outputs of a run that went well, and shows the warped volume over the fixed one."""
        node = self.logic.getParameterNode()  # the panel itself is bound to it only while it is shown
        modifying = node.StartModify()
        node.SetNodeReferenceID("OutputTransform", run.transformNode.GetID())
        if run.volumeNode is not None:
            node.SetNodeReferenceID("OutputVolume", run.volumeNode.GetID())
        labels = [carried for carried in run.carriedNodes if carried.GetClassName() in LABEL_CLASSES]
        if labels:
            node.SetNodeReferenceID("DiceWarped", labels[0].GetID())
        node.EndModify(modifying)
        self.onResultSelected(run.transformNode)
        if labels and self.parameterNode is not None and self.ui.diceFixedSelector.currentNode() is not None:
            self.qualityPanel.measureDice()
        if run.volumeNode is not None:
            fixed = slicer.mrmlScene.GetNodeByID(run.fixedVolumeID)
            maps.showLayers(background=fixed, foreground=run.volumeNode, foregroundOpacity=0.5, fit=True)


class ULAERegistrationLogic(ScriptedLoadableModuleLogic):
    """Registration from Python, without the panel.

    >>> logic = slicer.modules.ulaeregistration.widgetRepresentation().self().logic  # or ULAERegistrationLogic()
    >>> run = logic.register(fixedVolume, movingVolume, preset="fast", acceptLicence=True)
    >>> run.transformNode, run.volumeNode, run.quality["ncc_after"]
    >>> outputs = ULAERegistration.Outputs(makeVolume=False, alsoTransform=[segmentation])
    >>> logic.register(fixedVolume, movingVolume, outputs=outputs).carriedNodes
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.workerCommand = None  # replaces the command of the computing process; for tests
        self._runs = {}  # runs that are not waited for, and their timers

    def register(
        self,
        fixedVolume,
        movingVolume,
        *,
        fixedMask=None,
        movingMask=None,
        initialTransform=None,
        outputs=None,
        settings=None,
        acceptLicence=False,
        waitForCompletion=True,
        progress=None,
        finished=None,
        **changes,
    ):
        """Registers the moving volume to the fixed one, in a process of its own.

        Volumes are taken where they lie in the world, linear parent transforms included. Output nodes that exist are
        overwritten only when all is computed; on failure and on cancel the scene stays exactly as it was.

        :param fixedVolume: the T1 scan, of a whole head or of a brain, that stays where it is.
        :param movingVolume: the T1 scan that is carried to the fixed one.
        :param fixedMask: the fixed brain as segmentation or label map; found where the scan shows more than the brain
            and none is given, unless `brain` of the settings is "given" or "skip".
        :param movingMask: the moving brain likewise.
        :param initialTransform: linear transform node that carries the moving volume roughly to the fixed one.
        :param outputs: an `Outputs`: nodes to overwrite, what else to carry along, what to keep; by default a new
            transform and a new volume.
        :param settings: the library's RegistrationSettings: preset, alignment, device, precision and so on.
        :param acceptLicence: accepts the licence of the shipped weights for this run; not needed where the box in the
            panel was ticked, nor with weights of your own.
        :param waitForCompletion: return when all is done, keeping the window alive; otherwise at once.
        :param progress: called with the run whenever it has moved on.
        :param finished: called with the run at its end, when it is not waited for.
        :param changes: fields of `settings` by name, such as preset="fast".
        :return: the run (see ULAERegistrationParts.run.Run): state, transformNode, volumeNode, carriedNodes,
            fixedMaskNode, movingMaskNode, quality.
        :raises RegistrationError: one sentence on what is wrong; when waited for, also for failures on the way.
        """
        from ULAERegistrationLib.errors import RegistrationError
        from ULAERegistrationLib.settings import RegistrationSettings

        settings = replace(settings or RegistrationSettings(), **changes)
        if settings.model is None and not acceptLicence and not licence.accepted():
            raise RegistrationError(licence.sentence())
        run = Run(
            fixedVolume,
            movingVolume,
            (fixedMask, movingMask),
            initialTransform,
            outputs or Outputs(),
            settings,
            self.workerCommand or pythonExecutable(),
        )
        if not waitForCompletion:
            self._follow(run, progress, finished)
            return run
        try:
            while run.poll() == "running":
                if progress is not None:
                    progress(run)
                slicer.app.processEvents()
                time.sleep(POLL_MILLISECONDS / 1000)
        finally:
            run.cancel()
        if run.state == "failed":
            raise RegistrationError(run.error)
        return run

    def cancelAll(self):
        """Ends every run that is not waited for; harmless when there is none."""
        for run in list(self._runs):
            self._unfollow(run)
            run.cancel()

    def _follow(self, run, progress, finished):
        timer = qt.QTimer(slicer.app)  # without a parent it would end with the last variable, within its own signal
        timer.setInterval(POLL_MILLISECONDS)

        def look():
            if run.poll() == "running":
                if progress is not None:
                    progress(run)
            elif self._unfollow(run) and run.state != "cancelled" and finished is not None:
                finished(run)

        timer.connect("timeout()", look)
        self._runs[run] = timer
        timer.start()

    def _unfollow(self, run) -> bool:
        """Looks no more at a run; says whether it was looked at.

        The timer's connection holds `look`, and that the run with all its fields, for as long as the timer lives:
        PythonQt's objects take no part in Python's search for cycles.
        """
        timer = self._runs.pop(run, None)
        if timer is None:
            return False
        timer.stop()
        timer.deleteLater()
        return True


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
        self.assertEqual(panel.ui.registerButton.text, _("Select a fixed volume"))
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
        self.assertEqual(panel.ui.registerButton.text, _("Cancel"))
        run = panel.registerPanel.run
        self.waitUntil(lambda: run.fraction > 0 or run.state != "running")
        began = time.monotonic()
        panel.ui.registerButton.click()
        self.assertLess(time.monotonic() - began, 5)
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
