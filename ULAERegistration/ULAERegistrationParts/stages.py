"""The steps of a result as a sequence in the scene: the moving volume as it is warped step by step, and the flows.

A sequence browser holds two sequences of grid transforms for the four stages (after the alignment, after phi1, phi2,
phi3): the total displacement, under which a copy of the moving volume lies, and what the step itself adds. Fields are
large, so this is made only when the user asks for it.
"""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from . import maps
from .nodes import nodeIDs, nodesOf, remove, removeNewNodes, showLike
from .outputs import PART, addDerived, derived, putInFolder, referenced

STAGES = ("Moving", "φ1", "φ2", "φ3", "Fixed")
FIXED = 4
KINDS = {"flow": "own flow of each step", "total": "cumulative flow"}
PARTS = ("browser", *(f"{kind} sequence" for kind in KINDS), "volume")
ARROW_SCALE = 3  # arrows are drawn this many times longer than the displacement
ARROW_DIAMETER = 2.0  # mm, in 3D
LEAST_ARROW = 0.5  # mm: shorter displacements are no arrows but dots all over the view
CONTOURS = "1 2 3 5 8 12"  # mm; one step moves a few millimetres, Slicer's own begin at 2 and go on by 2


class Stages:
    """The steps of one result in the scene; found again after the scene was saved and loaded."""

    def __init__(self, transformNode):
        self.transformNode = transformNode
        self.browser = derived(transformNode, "browser")[0]

    @classmethod
    def find(cls, transformNode) -> Stages | None:
        """The steps of a result, or None when they were never made or the user has taken a part of them away."""
        if transformNode is None or not all(derived(transformNode, part) for part in PARTS):
            return None
        found = cls(transformNode)
        return found if all(found.proxy(kind) for kind in KINDS) else None

    @classmethod
    def make(cls, transformNode, steps: dict) -> Stages:
        """Makes the nodes.

        :param steps: fields by their names in `process.results`: "0" to "3", "flow1" to "flow3" (SimpleITK, LPS).
        :raises RegistrationError: the volumes of the result are no longer in the scene.
        """
        from ULAERegistrationLib.errors import RegistrationError

        fixed, moving = referenced(transformNode, "fixed"), referenced(transformNode, "moving")
        if fixed is None or moving is None:
            raise RegistrationError(_("The fixed or the moving volume of this result is no longer in the scene."))
        removeSteps(transformNode)  # what is left of earlier ones
        before = nodeIDs(transformNode.GetScene())
        try:
            cls._make(transformNode, steps, moving)
            found = cls(transformNode)
            found.goTo(0)
        except BaseException:
            removeNewNodes(transformNode.GetScene(), before)
            raise
        return found

    @classmethod
    def _make(cls, transformNode, steps: dict, moving) -> None:
        from ULAERegistrationLib.mrml.transforms import grid_transform, no_displacement, set_transform
        from ULAERegistrationLib.mrml.volumes import share_volume

        browser = addDerived(transformNode, "vtkMRMLSequenceBrowserNode", "browser", "steps")
        still = no_displacement(steps["0"])  # before the first step
        fields = {
            "total": [steps[str(stage)] for stage in range(FIXED)],
            "flow": [still, *(steps[f"flow{stage}"] for stage in range(1, FIXED))],
        }
        for kind, title in KINDS.items():
            sequence = addDerived(transformNode, "vtkMRMLSequenceNode", f"{kind} sequence", f"{title} (sequence)")
            sequence.SetIndexName("stage")
            sequence.SetIndexUnit("")
            for stage, field in enumerate(fields[kind]):
                node = slicer.vtkMRMLGridTransformNode()
                node.SetName(f"{transformNode.GetName()}, {title}")
                set_transform(node, grid_transform(field), None, None)
                sequence.SetDataNodeAtValue(node, str(stage))
            browser.AddSynchronizedSequenceNode(sequence)
        _updateProxies(browser)
        for kind in KINDS:
            proxy = browser.GetProxyNode(derived(transformNode, f"{kind} sequence")[0])
            putInFolder(transformNode, [proxy])
        volume = addDerived(transformNode, "vtkMRMLScalarVolumeNode", "volume", "step by step")
        share_volume(volume, moving, without=transformNode)
        showLike(volume, moving)
        volume.SetAndObserveTransformNodeID(cls(transformNode).proxy("total").GetID())

    @property
    def volume(self):
        """The moving volume as it is after the current stage."""
        return derived(self.transformNode, "volume")[0]

    def proxy(self, kind: str):
        """The grid transform of the current stage: its own "flow", or the "total"."""
        return self.browser.GetProxyNode(derived(self.transformNode, f"{kind} sequence")[0])

    def display(self, kind: str):
        """How the flow of the current stage is drawn: within the fixed volume, and not at all to begin with."""
        proxy = self.proxy(kind)
        if proxy.GetDisplayNode() is None:
            proxy.CreateDefaultDisplayNodes()
            proxy.GetDisplayNode().SetAndObserveRegionNode(referenced(self.transformNode, "fixed"))
            proxy.GetDisplayNode().SetVisibility(False)
        return proxy.GetDisplayNode()

    @property
    def current(self) -> int:
        """The current stage, 0 to 3."""
        return self.browser.GetSelectedItemNumber()

    def goTo(self, stage: int) -> None:
        """Makes a stage current, 0 (moving) to 4 (fixed, which looks as the third step does)."""
        self.browser.SetSelectedItemNumber(min(stage, FIXED - 1))
        _updateProxies(self.browser)

    def fields(self, kind: str) -> list:
        """The fields of all stages (SimpleITK, LPS)."""
        from ULAERegistrationLib.mrml.transforms import field_from_node

        sequence = derived(self.transformNode, f"{kind} sequence")[0]
        return [field_from_node(sequence.GetNthDataNode(stage)) for stage in range(FIXED)]

    def showFlow(self, kind: str, mode: str, in2D: bool, in3D: bool) -> None:
        """Draws the flow of the current stage, in slices and in 3D.

        :param mode: "none", "arrows", "grid", "contours", or "magnitude", which makes the map of the lengths too.
        """
        for one in KINDS:
            display = self.display(one)
            shown = one == kind and mode in ("arrows", "grid", "contours")
            display.SetVisibility(shown)
            display.SetVisibility2D(shown and in2D)
            display.SetVisibility3D(shown and in3D)
            if not shown:
                continue
            display.SetVisualizationMode(
                {
                    "arrows": display.VIS_MODE_GLYPH,
                    "grid": display.VIS_MODE_GRID,
                    "contours": display.VIS_MODE_CONTOUR,
                }[mode]
            )
            display.SetGlyphSpacingMm(8)
            display.SetGlyphScalePercent(100 * ARROW_SCALE)
            display.SetGlyphDiameterMm(ARROW_DIAMETER)
            display.SetGlyphDisplayRangeMinMm(LEAST_ARROW)
            display.SetContourLevelsMmFromString(CONTOURS)
            display.SetGridSpacingMm(6 if in2D else 12)  # in 3D a narrow grid hides what is behind it
        if mode == "magnitude":
            maps.magnitudeMap(self.transformNode, _field(self.proxy(kind)))

    def magnitude(self):
        """The map of the displacement's length, or None where it was not asked for."""
        found = derived(self.transformNode, "magnitude")
        return found[0] if found else None

    def differences(self) -> list:
        """Makes the difference maps of the paper's figure 4."""
        fixed, moving = referenced(self.transformNode, "fixed"), referenced(self.transformNode, "moving")
        return maps.differenceMaps(self.transformNode, fixed, moving, self.fields("total"))


def removeSteps(transformNode) -> None:
    """Takes all steps of a result out of the scene again; what is of the whole result stays."""
    for node in nodesOfSteps(transformNode):
        remove(node)


def nodesOfSteps(transformNode) -> list:
    """All nodes that show something of the steps of a result; of another node none."""
    return [node for node in derived(transformNode) if node.GetAttribute(PART) not in ("jacobian", "checkerboard")]


def restoreStages(scene) -> None:
    """Makes the current stages of loaded results the maps they were: they are saved apart, and read as cubic too."""
    for browser in nodesOf(scene, "vtkMRMLSequenceBrowserNode"):
        if browser.GetAttribute(PART):
            _updateProxies(browser)


def _updateProxies(browser) -> None:
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)


def _field(node):
    from ULAERegistrationLib.mrml.transforms import field_from_node

    return field_from_node(node)
