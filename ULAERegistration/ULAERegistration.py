"""ULAE Registration: deformable registration of two brain MR scans, as a 3D Slicer module.

The mathematics is in ULAERegistrationLib, an ordinary Python package; here are panel and nodes only. Nothing of that
package, torch or SimpleITK is imported before it is used, so that Slicer starts quickly and the panel always appears.
"""

import importlib.util
import sys
import time
from dataclasses import replace
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("ULAERegistrationLib") is None:
    # Run from the source tree: Slicer adds this folder only, the library lies beside it.
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from ULAERegistrationParts import licence, sampleData
from ULAERegistrationParts.follower import Follower
from ULAERegistrationParts.nodes import remove
from ULAERegistrationParts.outputs import Outputs, restoreInterpolation
from ULAERegistrationParts.parameters import ParameterBinding, setDefaults, swap, unchoose
from ULAERegistrationParts.qualityPanel import QualityPanel
from ULAERegistrationParts.registerPanel import RegisterPanel
from ULAERegistrationParts.run import Run, pythonExecutable
from ULAERegistrationParts.selfTest import ULAERegistrationTest  # noqa: F401 - Slicer looks for it in this file
from ULAERegistrationParts.stages import nodesOfSteps, restoreStages
from ULAERegistrationParts.stepsPanel import StepsPanel
from ULAERegistrationParts.views import Views

POLL_MILLISECONDS = 100
LABEL_CLASSES = ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")


class ULAERegistration(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("ULAE Registration")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        # Not SampleData: Slicer loads no module of which a dependency is missing, and this one works without it.
        self.parent.dependencies = ["Colors", "Segmentations", "Sequences"]
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
        slicer.app.connect("startupCompleted()", sampleData.register)
        # Here and not in the panel: a scene may be loaded long before anybody opens the module, or never does.
        slicer.mrmlScene.AddObserver(slicer.mrmlScene.EndImportEvent, onSceneImported)


def onSceneImported(scene, event):
    """Makes results that were loaded, and their stages, the maps they were when they were saved."""
    restoreInterpolation(scene)
    restoreStages(scene)


class ULAERegistrationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameterNode = None
        self.binding = None
        self.registerPanel = None
        self.result = None  # the transform whose steps and quality are shown
        self._left = []  # the steps of a result that is just being deleted

    # --- life cycle ---

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/ULAERegistration.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ULAERegistrationLogic()
        self.views = Views(self.ui.sideBySideButton)
        self.stepsPanel = StepsPanel(self.ui, self.views)
        self.qualityPanel = QualityPanel(self.ui, self.views)
        self.binding = ParameterBinding(self.ui, self.updatePanel, lambda nodes: self.registerPanel.showDropped(nodes))
        self.registerPanel = RegisterPanel(self.ui, self.logic, self.binding, self.onDone, self.onExtras)
        self.ui.swapButton.connect("clicked()", self.onSwapButton)
        self.ui.shapeButton.connect("clicked()", self.registerPanel.registerShape)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self.onNodeRemoved)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self.onNodeGone)
        # After the selectors, which were given the scene above: they lose their nodes one after another at the end of
        # an import and tell it, which must not be taken for the user's choice.
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        self.ui.flickerButton.checked = False
        self.setParameterNode(None)  # the panel is brought in line again when it is shown again

    def cleanup(self):
        if self.registerPanel is None:  # the setup has failed before anything could observe or run
            return
        self.logic.cancelAll()
        self.views.release()
        self.stepsPanel.cleanup()
        self.setParameterNode(None)
        self.removeObservers()
        self.uiWidget.setMRMLScene(None)  # a reload hides these widgets, which would follow the scene on

    def onReload(self):
        for name in list(sys.modules):
            if name.partition(".")[0] in ("ULAERegistrationLib", "ULAERegistrationParts"):
                del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        self.logic.cancelAll()
        self.setParameterNode(None)
        self.registerPanel.forget()
        self.views.forget()
        self.showResult(None)

    def onSceneStartImport(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndImport(self, caller, event):
        self.onSceneEndClose(caller, event)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller, event, removed):
        """Chooses a node that is deleted no longer, nor what belongs to it, also while another module is shown.

        Here and not by the selectors, which are told later: the one that still shows the node would jump to its
        neighbour and tell of that as of a choice.
        """
        if slicer.mrmlScene.IsClosing():
            return
        if removed is self.result:
            self.showResult(None)
        self._left += nodesOfSteps(removed)
        unchoose(self.logic.getParameterNode(), removed)

    def onNodeGone(self, caller, event):
        """Steps go with their result, and the buttons of a result wait for the volumes that its maps need."""
        left, self._left = self._left, []
        if not slicer.mrmlScene.IsClosing():
            for node in left:
                remove(node)
            self.qualityPanel.update()

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
        chosen = self.ui.outputTransformSelector.currentNode()
        if chosen is not self.result:  # else what was measured of it, and is looked at, stays
            self.showResult(chosen)
        self.registerPanel.update()
        self.qualityPanel.update()

    def onSwapButton(self):
        swap(self.parameterNode)

    def showResult(self, node):
        """Shows steps and quality of a transform, or that there are none."""
        self.result = node
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
        self.showResult(run.transformNode)
        if run.volumeNode is not None:
            fixed = slicer.mrmlScene.GetNodeByID(run.fixedVolumeID)
            self.views.showLayers(background=fixed, foreground=run.volumeNode, foregroundOpacity=0.5, fit=True)
        if labels and self.parameterNode is not None and self.ui.diceFixedSelector.currentNode() is not None:
            self.qualityPanel.measureDice()

    def onExtras(self, run):
        """Shows steps and report of a run, which come after its result, unless another result is looked at by now."""
        if self.result is run.transformNode:
            self.stepsPanel.setFields(run.steps)
            self.qualityPanel.setReport(run.report)


class ULAERegistrationLogic(ScriptedLoadableModuleLogic):
    """Registration from Python, without the panel.

    >>> logic = slicer.modules.ulaeregistration.widgetRepresentation().self().logic  # or ULAERegistrationLogic()
    >>> run = logic.register(fixedVolume, movingVolume, preset="fast", acceptLicence=True)
    >>> run.transformNode, run.volumeNode, run.quality["ncc_after"]
    >>> import ULAERegistration
    >>> outputs = ULAERegistration.Outputs(makeVolume=False, alsoTransform=[segmentation])
    >>> logic.register(fixedVolume, movingVolume, outputs=outputs, acceptLicence=True).carriedNodes
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        self.workerCommand = None  # replaces the command of the computing process; for tests
        self._followers = {}  # of the runs that are not waited for

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
        extras=None,
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
        :param initialTransform: linear transform node that carries the moving volume roughly to the fixed one, whether
            the volume lies under it already or not.
        :param outputs: an `Outputs`: nodes to overwrite, what else to carry along, what to keep; by default a new
            transform and a new volume.
        :param settings: the library's RegistrationSettings: preset, alignment, device, precision and so on.
        :param acceptLicence: accepts the licence of weights and template for this run; not needed where the box in the
            panel was ticked.
        :param waitForCompletion: return when all is done, keeping the window alive; otherwise at once.
        :param progress: called with the run whenever it has moved on.
        :param finished: called once with a run that is not waited for, when its result is in the scene or when it has
            ended without one: failed, cancelled, or with its scene.
        :param extras: called with the run when its steps and its report have come after that.
        :param changes: fields of `settings` by name, such as preset="fast".
        :return: the run (see ULAERegistrationParts.run.Run): state, transformNode, volumeNode, carriedNodes,
            fixedMaskNode, movingMaskNode, quality.
        :raises RegistrationError: one sentence on what is wrong; when waited for, also for failures on the way.
        """
        from ULAERegistrationLib.errors import RegistrationError
        from ULAERegistrationLib.settings import RegistrationSettings

        settings = replace(settings or RegistrationSettings(), **changes)
        if not acceptLicence and not licence.accepted():
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
            Follower(run, POLL_MILLISECONDS, progress, finished, extras, self._followers)
            return run
        try:
            while run.poll() == "running" or not run.complete:
                if progress is not None:
                    progress(run)
                slicer.app.processEvents()
                time.sleep(POLL_MILLISECONDS / 1000)
        finally:
            run.cancel()
        if run.state == "failed":
            raise RegistrationError(run.error)
        return run

    def cancel(self, run):
        """Ends a run at once, which is harmless when it has ended; `finished` is called where it was not yet."""
        run.cancel()
        if run in self._followers:
            self._followers[run].look()

    def cancelAll(self):
        """Ends every run that is not waited for."""
        followers = list(self._followers.values())
        for run in list(self._followers):
            run.cancel()  # all of them first, as whoever is told may fail
        for follower in followers:
            follower.look()
