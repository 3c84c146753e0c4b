"""The panel's choices in the parameter node, so that they are saved with the scene, and back.

By Slicer's own parameter-edit-widget functions and not by its parameterNodeWrapper: that has no connector for a list of
checked nodes, so the binding would not become smaller by much, and it is not part of the slicer-core package, on which
the tests of this panel run.
"""

from __future__ import annotations

import slicer

from .nodes import nodesOf
from .outputs import isOwn

# Widget of the .ui file -> parameter (a value, or the reference of a node).
PARAMETERS = {
    "fixedVolumeSelector": "FixedVolume",
    "movingVolumeSelector": "MovingVolume",
    "fixedMaskSelector": "FixedMask",
    "movingMaskSelector": "MovingMask",
    "initialTransformSelector": "InitialTransform",
    "outputTransformSelector": "OutputTransform",
    "outputVolumeSelector": "OutputVolume",
    "warpedCheckBox": "MakeWarpedVolume",
    "presetComboBox": "Preset",
    "deviceComboBox": "Device",
    "opacitySlider": "Opacity",
    "flowComboBox": "Flow",
    "modeComboBox": "FlowMode",
    "slicesCheckBox": "FlowInSlices",
    "threeDCheckBox": "FlowIn3D",
    "diceFixedSelector": "DiceFixed",
    "diceWarpedSelector": "DiceWarped",
    "brainComboBox": "WholeHeads",
    "contrastComboBox": "Contrasts",
    "alignmentComboBox": "Alignment",
    "refinementSpinBox": "RefinementIterations",
    "smoothnessSlider": "Smoothness",
    "precisionComboBox": "Precision",
    "keepFilesCheckBox": "KeepTemporaryFiles",
}
DEFAULTS = {
    "MakeWarpedVolume": "true",
    "Preset": "Accurate",
    "Device": "auto",
    "Opacity": "0.7",
    "Flow": "own",
    "FlowMode": "none",
    "FlowInSlices": "true",
    "FlowIn3D": "false",
    "WholeHeads": "Find the brain",
    "Contrasts": "Recognise",
    "Alignment": "auto",
    "RefinementIterations": "-1",
    "Smoothness": "1.0",
    "Precision": "auto",
    "KeepTemporaryFiles": "false",
    "Model": "",
}
# The choices for whole heads and for contrasts, and what the library calls them.
BRAIN_CHOICES = {
    "Find the brain": "auto",
    "Require masks": "given",
    "Take as they are": "skip",
}
CONTRAST_CHOICES = {"Recognise": "auto", "The same": "same", "Different": "different"}
PROPOSED = "VolumesProposed"  # whether two volumes of the scene were taken as fixed and moving
CARRY = "AlsoTransform"  # a reference to any number of nodes
# What is chosen for the fixed and for the moving volume, and is of no use to another one.
BELONGINGS = {
    "FixedVolume": ("FixedMask", "InitialTransform", "DiceFixed"),
    "MovingVolume": ("MovingMask", "InitialTransform", CARRY),
}


def setDefaults(node) -> None:
    """Fills in what a parameter node does not say yet; two volumes in the scene are taken as fixed and moving."""
    for name, value in DEFAULTS.items():
        if not node.GetParameter(name):
            node.SetParameter(name, value)
    for name, choices in (("WholeHeads", BRAIN_CHOICES), ("Contrasts", CONTRAST_CHOICES)):
        if node.GetParameter(name) not in choices:  # a scene of another version, which had other choices
            node.SetParameter(name, DEFAULTS[name])
    isChosen = node.GetNodeReferenceID("FixedVolume") or node.GetNodeReferenceID("MovingVolume")
    if isChosen or node.GetParameter(PROPOSED) == "true":  # what somebody has chosen no longer is not chosen again
        return
    volumes = [
        one
        for one in nodesOf(node.GetScene(), "vtkMRMLScalarVolumeNode")
        if one.GetClassName() == "vtkMRMLScalarVolumeNode" and one.GetImageData() and not isOwn(one)
    ]
    if len(volumes) >= 2:
        node.SetParameter(PROPOSED, "true")
        node.SetNodeReferenceID("FixedVolume", volumes[0].GetID())
        node.SetNodeReferenceID("MovingVolume", volumes[1].GetID())


def dropBelongings(node, volume: str) -> list:
    """Chooses no longer what belongs to a volume.

    :param node: the parameter node.
    :param volume: "FixedVolume" or "MovingVolume".
    :return: the nodes that were chosen, each once.
    """
    dropped = []
    for role in BELONGINGS[volume]:
        dropped += [node.GetNthNodeReference(role, index) for index in range(node.GetNumberOfNodeReferences(role))]
        node.RemoveNodeReferenceIDs(role)
    return list(dict.fromkeys(filter(None, dropped)))


def swap(node) -> None:
    """Exchanges the fixed and the moving volume with their masks.

    :param node: the parameter node.
    """
    modifying = node.StartModify()
    for one, other in (("FixedVolume", "MovingVolume"), ("FixedMask", "MovingMask")):
        first, second = node.GetNodeReferenceID(one), node.GetNodeReferenceID(other)
        node.SetNodeReferenceID(one, second)
        node.SetNodeReferenceID(other, first)
    # These belong to a volume in the place that it has left, or lead from one to the other.
    for role in ("InitialTransform", "DiceFixed", CARRY):
        node.RemoveNodeReferenceIDs(role)
    node.EndModify(modifying)


def unchoose(node, gone) -> None:
    """Chooses a node no longer, nor what belongs to it.

    :param node: the parameter node.
    :param gone: the node that is about to be removed from the scene.
    """
    modifying = node.StartModify()
    for volume in BELONGINGS:
        if node.GetNodeReferenceID(volume) == gone.GetID():
            dropBelongings(node, volume)
    for role in (*PARAMETERS.values(), CARRY):
        for index in reversed(range(node.GetNumberOfNodeReferences(role))):
            if node.GetNthNodeReferenceID(role, index) == gone.GetID():
                node.RemoveNthNodeReferenceID(role, index)
    node.EndModify(modifying)


class ParameterBinding:
    """Keeps the panel's widgets and the parameter node the same.

    Args:
        ui: the widgets by name.
        changed: called after the panel was brought in line with the node.
        dropped: called with the nodes that are no longer chosen, because the user has chosen another volume.
    """

    def __init__(self, ui, changed, dropped):
        self._ui = ui
        self._changed = changed
        self._dropped = dropped
        self._node = None
        self._updating = False
        self._pairs = [(getattr(ui, widget), name) for widget, name in PARAMETERS.items()]
        slicer.util.addParameterEditWidgetConnections(self._pairs, self.toNode)
        for selector in (widget for widget, name in self._pairs if widget.className() == "qMRMLNodeComboBox"):
            # With Qt 6 the signal of above is silent where the other node has the same name.
            selector.connect("nodeActivated(vtkMRMLNode*)", self.toNode)
        ui.carrySelector.connect("checkedNodesChanged()", self.toNode)
        ui.modelPathEdit.connect("currentPathChanged(QString)", self.toNode)
        ui.modelPathEdit.connect("validInputChanged(bool)", self.toNode)  # the other one is silent on an empty field

    def setNode(self, node) -> None:
        """Binds to another parameter node, or to none."""
        self._node = node
        self.toPanel()

    def toPanel(self, caller=None, event=None) -> None:
        """Shows what the parameter node says."""
        if self._node is None or self._updating:
            return
        self._updating = True
        try:
            slicer.util.updateParameterEditWidgetsFromNode(self._pairs, self._node)
            path = self._node.GetParameter("Model")
            if self._ui.modelPathEdit.currentPath != path:  # else the cursor would leave the place where somebody types
                self._ui.modelPathEdit.currentPath = path
            wanted = self.carried()
            for index in range(self._ui.carrySelector.nodeCount()):
                node = self._ui.carrySelector.nodeFromIndex(index)
                (self._ui.carrySelector.check if node in wanted else self._ui.carrySelector.uncheck)(node)
        finally:
            self._updating = False
        self._changed()

    def toNode(self) -> None:
        """Notes what the panel shows."""
        if self._node is None or self._updating:
            return
        before = {volume: self._node.GetNodeReferenceID(volume) for volume in BELONGINGS}
        modifying = self._node.StartModify()
        slicer.util.updateNodeFromParameterEditWidgets(self._pairs, self._node)
        self._node.SetParameter("Model", self._ui.modelPathEdit.currentPath)
        self._node.RemoveNodeReferenceIDs(CARRY)
        for node in self._ui.carrySelector.checkedNodes():
            self._node.AddNodeReferenceID(CARRY, node.GetID())
        dropped = []
        for volume, nodeID in before.items():
            if nodeID and nodeID != self._node.GetNodeReferenceID(volume):
                dropped += dropBelongings(self._node, volume)
        self._node.EndModify(modifying)
        self._changed()
        if dropped:
            self._dropped(dropped)

    def carried(self) -> list:
        """The nodes to carry along."""
        count = self._node.GetNumberOfNodeReferences(CARRY) if self._node is not None else 0
        nodes = [self._node.GetNthNodeReference(CARRY, index) for index in range(count)]
        return [node for node in nodes if node is not None]

    def settings(self) -> dict:
        """The choices that are fields of the library's RegistrationSettings."""
        value = self._node.GetParameter
        iterations = int(float(value("RefinementIterations")))
        return {
            "preset": value("Preset").lower(),
            "device": value("Device"),
            "brain": BRAIN_CHOICES[value("WholeHeads")],
            "contrast": CONTRAST_CHOICES[value("Contrasts")],
            "alignment": value("Alignment"),
            "precision": value("Precision"),
            "refinement_iterations": iterations if iterations >= 0 else None,
            "smoothness": float(value("Smoothness")),
            "model": value("Model") or None,
        }
