"""What a registration leaves in the scene: checked before it starts, made or overwritten only when all is computed."""

from __future__ import annotations

import json

import slicer
import vtk
from slicer.i18n import tr as _

from .copies import RESULT, addBrain, addCarried
from .nodes import TITLE, Changes, isA, nodesOf, remove, rename, showLike

QUALITY = "ULAERegistration.quality"  # attribute of the transform node: the measures as JSON
WARPED = "ULAERegistrationWarped"  # reference of the transform node to the warped volume
# References of the transform node to what shows something of it, which refers to it by `RESULT`: a copy of either has
# but one of the two.
PARTS = "ULAERegistrationPart"
PART = "ULAERegistration.part"  # attribute of a node that shows something of a result: what it shows
ROLE = {"fixed": "spatialRegistrationFixed", "moving": "spatialRegistrationMoving"}


class Outputs:
    """Where the results of one registration go, and what is kept of it.

    :param transform: grid transform node to overwrite, or None for a new one.
    :param volume: volume node to overwrite with the warped moving volume, or None for a new one.
    :param makeVolume: whether the warped volume is wanted at all.
    :param alsoTransform: nodes that belong to the moving volume, to be carried along: segmentations, label maps,
        volumes, markups, models. Each gets a copy; that of an earlier run is replaced unless somebody has changed it.
    :param brainMasks: whether the brains that were found, where a volume shows more than the brain and has no mask,
        come into the scene as segmentations.
    :param steps: keep the fields of the three steps in the run's `steps`.
    :param report: keep the report in the run's `report`; its figures need matplotlib, its viewer does not.
    :param temporaryFiles: leave the folder of the process where it is.
    """

    def __init__(
        self,
        transform=None,
        volume=None,
        makeVolume: bool = True,
        alsoTransform=(),
        *,
        brainMasks: bool = True,
        steps: bool = False,
        report: bool = False,
        temporaryFiles: bool = False,
    ):
        self.makeVolume, self.brainMasks = makeVolume, brainMasks
        self.steps, self.report, self.temporaryFiles = steps, report, temporaryFiles
        for node in filter(None, (transform, volume, *alsoTransform)):
            if not isA(node, "vtkMRMLNode"):
                raise TypeError(f"{node!r} is no node of the scene")
        self._transformID = transform.GetID() if transform else None
        self._volumeID = volume.GetID() if volume and makeVolume else None
        self._carryIDs = [node.GetID() for node in alsoTransform]

    def check(self, fixed, moving, *others) -> None:
        """Refuses, before anything is computed, outputs that could not be written.

        :param others: further inputs, such as masks.
        :raises RegistrationError: with the reason.
        """
        from ULAERegistrationLib.errors import RegistrationError
        from ULAERegistrationLib.mrml.geometry import world_matrix

        scene = fixed.GetScene()
        transform, volume = (
            scene.GetNodeByID(nodeID) if nodeID else None for nodeID in (self._transformID, self._volumeID)
        )
        carried = [node for node in map(scene.GetNodeByID, self._carryIDs) if node is not None]
        if volume in (fixed, moving):
            raise RegistrationError(_("The warped volume would overwrite an input; select another output volume."))
        for node in filter(None, (transform, volume)):
            if node in (*others, *carried):
                sentence = _("{name} is an input too and would be overwritten; select another output.")
                raise RegistrationError(sentence.format(name=node.GetName()))
            if node.GetAttribute(PART) or _isProxy(node):
                sentence = _("{name} shows a part of a result or of a sequence; select another output.")
                raise RegistrationError(sentence.format(name=node.GetName()))
        if transform is not None and not transform.IsA("vtkMRMLGridTransformNode"):
            sentence = _("{name} is no grid transform; select another output transform.")
            raise RegistrationError(sentence.format(name=transform.GetName()))
        if volume is not None and volume.GetClassName() != "vtkMRMLScalarVolumeNode":
            sentence = _("{name} is no scalar volume; select another output volume.")
            raise RegistrationError(sentence.format(name=volume.GetName()))
        for node in (fixed, moving):
            parent = node.GetParentTransformNode()
            if transform is not None and parent is not None and transform in _chain(parent):
                sentence = _("{name} lies under {parent}, which would be overwritten; select another output transform.")
                raise RegistrationError(sentence.format(name=node.GetName(), parent=transform.GetName()))
        for node in carried:
            world_matrix(node)

    def commit(self, scene, fixed, moving, grid, field, warped, brains, quality: dict):
        """Puts the results into the scene.

        Everything is computed first; if a step then fails, the scene is made what it was before.

        :param fixed: node, or None if it was deleted meanwhile; moving the same.
        :param grid: the fixed image, field the displacement, warped the warped image or None (SimpleITK, LPS).
        :param brains: masks of the brains that were found in the fixed and in the moving volume, each may be None.
        :return: transform node, volume node or None, carried nodes, nodes of the two brains or None, notes.
        """
        from ULAERegistrationLib.errors import RegistrationError
        from ULAERegistrationLib.geometry.transforms import field_transform
        from ULAERegistrationLib.mrml.carrying import carried_along
        from ULAERegistrationLib.mrml.transforms import grid_transform, set_transform
        from ULAERegistrationLib.mrml.volumes import set_volume

        vtkGrid = grid_transform(field)
        carried, notes = [], []
        sources = [node for node in map(scene.GetNodeByID, self._carryIDs) if node is not None]
        if sources:
            transform = field_transform(field)
            for node in sources:
                try:
                    carried.append((node, carried_along(node, transform, vtkGrid, grid)))
                except RegistrationError as error:
                    notes.append(str(error))
                except Exception as error:  # no node that is carried along may lose the registration
                    sentence = _("{name} could not be carried along ({reason}).")
                    notes.append(sentence.format(name=node.GetName(), reason=f"{type(error).__name__}: {error}"))

        name = f"{moving.GetName() if moving else 'moving'} to {fixed.GetName() if fixed else 'fixed'}"
        changes = Changes(scene)
        try:
            transformNode = _existingOrNew(scene, self._transformID, "vtkMRMLGridTransformNode", name, changes)
            volumeNode = None
            if warped is not None:
                title = f"{name}, warped"
                volumeNode = _existingOrNew(scene, self._volumeID, "vtkMRMLScalarVolumeNode", title, changes)
            copies = [addCarried(scene, node, copy, transformNode, fixed, changes, notes) for node, copy in carried]
            carriedNodes = [copy for copy, replaced in copies]
            found = [
                addBrain(scene, volume, mask, changes, notes) if volume is not None and mask is not None else None
                for volume, mask in zip((fixed, moving), brains, strict=True)
            ]
            if found[1] in changes.added:
                found[1].GetDisplayNode().SetVisibility(False)  # the views show the fixed brain's place
            set_transform(transformNode, vtkGrid, fixed, moving)
            rename(transformNode, name)
            transformNode.SetAttribute(QUALITY, json.dumps(quality))
            transformNode.SetNodeReferenceID(WARPED, None)
            if volumeNode is not None:
                for other in resultsOf(volumeNode):  # which it shows no longer
                    changes.overwrite(other)
                    other.SetNodeReferenceID(WARPED, None)
                set_volume(volumeNode, warped)
                rename(volumeNode, title)
                transformNode.SetNodeReferenceID(WARPED, volumeNode.GetID())
                showLike(volumeNode, moving)
            brainNodes = [node for node in found if node in changes.added]  # others may lie where the user has put them
            putInFolder(transformNode, [transformNode, volumeNode, *carriedNodes, *brainNodes])
            replaced = [node for copy, node in copies if node is not None]
            for node in [*replaced, *derived(transformNode)]:  # what was made from an earlier result is no longer true
                remove(node)
        except BaseException:
            changes.takeBack()
            raise
        return transformNode, volumeNode, carriedNodes, found, notes


def qualityOf(transformNode) -> dict:
    """The measures kept with a result, also after the scene was saved and loaded; empty for other transforms."""
    text = transformNode.GetAttribute(QUALITY) if transformNode is not None else None
    try:
        quality = json.loads(text or "{}")
    except ValueError:  # written by something else
        return {}
    return quality if isinstance(quality, dict) and {"verdict", "reasons"} <= quality.keys() else {}


def restoreInterpolation(scene) -> None:
    """Makes loaded results linear again: Slicer reads every grid transform as cubic, another map between the voxels."""
    for node in nodesOf(scene, "vtkMRMLGridTransformNode"):
        if not qualityOf(node):
            continue
        kind = ("vtkOrientedGridTransform", False, False)
        for grid in (node.GetTransformFromParentAs(*kind), node.GetTransformToParentAs(*kind)):  # of an inverted one
            if grid is not None:
                grid.SetInterpolationModeToLinear()


def warpedVolume(transformNode):
    """The warped volume of a result, or None where none was made or it was deleted."""
    return transformNode.GetNodeReference(WARPED)


def resultsOf(volumeNode) -> list:
    """The transforms of which a volume is the warped volume; one at most, unless a script has set more."""
    transforms = nodesOf(volumeNode.GetScene(), "vtkMRMLGridTransformNode")
    return [node for node in transforms if warpedVolume(node) is volumeNode]


def referenced(transformNode, which: str):
    """The "fixed" or "moving" volume of a result, or None."""
    return transformNode.GetNodeReference(ROLE[which])


def putInFolder(transformNode, nodes) -> None:
    """Puts nodes into the subject-hierarchy folder that a result lies in; where it lies in none, one is made."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(transformNode.GetScene())
    item = hierarchy.GetItemByDataNode(transformNode)
    folder = hierarchy.GetItemParent(item) if item else 0
    if folder in (0, hierarchy.GetSceneItemID()):
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), transformNode.GetName())
        nodes = [transformNode, *nodes]
    for node in dict.fromkeys(filter(None, nodes)):
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, folder)
        else:
            hierarchy.CreateItem(folder, node)


def isOwn(node) -> bool:
    """Whether this module has made a node: a result, or what shows something of one."""
    return node.GetAttribute(TITLE) is not None or node.GetAttribute(PART) is not None


def derived(transformNode, part: str | None = None) -> list:
    """The nodes that show something of a result, all or those of one part."""
    count = transformNode.GetNumberOfNodeReferences(PARTS)
    found = filter(None, (transformNode.GetNthNodeReference(PARTS, index) for index in range(count)))
    found = [node for node in found if node.GetNodeReferenceID(RESULT) == transformNode.GetID()]
    if part is not None:
        return [node for node in found if node.GetAttribute(PART) == part]
    proxies = vtk.vtkCollection()
    for browser in (node for node in found if node.IsA("vtkMRMLSequenceBrowserNode")):
        browser.GetAllProxyNodes(proxies)  # sequences overwrite what a proxy says of itself
    return found + [proxies.GetItemAsObject(index) for index in range(proxies.GetNumberOfItems())]


def addDerived(transformNode, className: str, part: str, title: str):
    """The node that shows one part of a result, in the result's folder: a new one, or the one that is there already."""
    found = derived(transformNode, part)
    if found:
        return found[0]
    scene = transformNode.GetScene()
    node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(f"{transformNode.GetName()}, {title}"))
    node.SetAttribute(PART, part)
    node.SetNodeReferenceID(RESULT, transformNode.GetID())
    transformNode.AddNodeReferenceID(PARTS, node.GetID())
    putInFolder(transformNode, [node])
    return node


def _isProxy(node) -> bool:
    """Whether a browser of a sequence shows its current item by a node, and overwrites it when it moves on."""
    browsers = nodesOf(node.GetScene(), "vtkMRMLSequenceBrowserNode")
    return any(browser.IsProxyNodeID(node.GetID()) for browser in browsers)


def _chain(transform):
    while transform is not None:
        yield transform
        transform = transform.GetParentTransformNode()


def _existingOrNew(scene, nodeID, className: str, title: str, changes: Changes):
    """The node of an ID, which is going to be overwritten, or a new one where there is none."""
    node = scene.GetNodeByID(nodeID) if nodeID else None
    if node is None:
        return changes.add(className, title)
    changes.overwrite(node)
    return node
