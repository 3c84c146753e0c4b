"""What a registration leaves in the scene: checked before it starts, made or overwritten only when all is computed."""

from __future__ import annotations

import json
import re

import slicer
import vtk
from slicer.i18n import tr as _

QUALITY = "ULAERegistration.quality"  # attribute of the transform node: the measures as JSON
SOURCE, RESULT = "ULAERegistrationSource", "ULAERegistrationTransform"  # references of a node that was carried along
WARPED = "ULAERegistrationWarped"  # reference of the transform node to the warped volume
BRAIN_OF = "ULAERegistrationBrainOf"  # reference of a segmentation to the volume in which this brain was found
CONTENTS = "ULAERegistration.contents"  # attribute of what was carried along or found: what it held when it was made
TITLE = "ULAERegistration.title"  # attribute of a node to which the module gave its name: that name without a number
PART = "ULAERegistration.part"  # attribute of a node that shows something of a result: what it shows
FOLDER = "ULAERegistration.folder"  # attribute of a result's folder in the subject hierarchy
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
        self._transformID = transform.GetID() if transform else None
        self._volumeID = volume.GetID() if volume and makeVolume else None
        self._carryIDs = [node.GetID() for node in alsoTransform]

    def check(self, fixed, moving) -> None:
        """Refuses, before anything is computed, outputs that could not be written.

        :raises RegistrationError: with the reason.
        """
        from ULAERegistrationLib.errors import RegistrationError
        from ULAERegistrationLib.mrml.geometry import world_matrix

        scene = fixed.GetScene()
        if self._volumeID in (fixed.GetID(), moving.GetID()):
            raise RegistrationError(_("The warped volume would overwrite an input; select another output volume."))
        transform = scene.GetNodeByID(self._transformID) if self._transformID else None
        if transform is not None and not transform.IsA("vtkMRMLGridTransformNode"):
            sentence = _("{name} is no grid transform; select another output transform.")
            raise RegistrationError(sentence.format(name=transform.GetName()))
        for node in (fixed, moving):
            parent = node.GetParentTransformNode()
            if transform is not None and parent is not None and transform in _chain(parent):
                sentence = _("{name} lies under {parent}, which would be overwritten; select another output transform.")
                raise RegistrationError(sentence.format(name=node.GetName(), parent=transform.GetName()))
        for node in filter(None, map(scene.GetNodeByID, self._carryIDs)):
            world_matrix(node)

    def commit(self, scene, fixed, moving, grid, field, warped, brains, quality: dict):
        """Puts the results into the scene.

        Everything is computed first; if the scene then refuses a node, those already added are taken out again.

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

        name = f"{moving.GetName() if moving else 'moving'} to {fixed.GetName() if fixed else 'fixed'}"
        added = []
        try:
            transformNode = _existing(scene, self._transformID) or _add(scene, "vtkMRMLGridTransformNode", name, added)
            volumeNode = None
            if warped is not None:
                volumeNode = _existing(scene, self._volumeID)
                volumeNode = volumeNode or _add(scene, "vtkMRMLScalarVolumeNode", f"{name}, warped", added)
            replaced = []
            carriedNodes = []
            for node, copy in carried:
                old = _unchanged(scene, copy.GetClassName(), {SOURCE: node, RESULT: transformNode}, None, notes)
                replaced += [old] if old is not None else []
                carriedNodes.append(_addCarried(scene, node, copy, transformNode, fixed, old, added))
            found = [
                _addBrain(scene, volume, mask, added, notes) if volume is not None and mask is not None else None
                for volume, mask in zip((fixed, moving), brains, strict=True)
            ]
            if found[1] in added:
                found[1].GetDisplayNode().SetVisibility(False)  # the views show the fixed brain's place
            set_transform(transformNode, vtkGrid, fixed, moving)
            _rename(transformNode, name)
            transformNode.SetAttribute(QUALITY, json.dumps(quality))
            transformNode.SetNodeReferenceID(WARPED, None)
            if volumeNode is not None:
                for other in resultsOf(volumeNode):  # which it shows no longer
                    other.SetNodeReferenceID(WARPED, None)
                set_volume(volumeNode, warped)
                _rename(volumeNode, f"{name}, warped")
                transformNode.SetNodeReferenceID(WARPED, volumeNode.GetID())
                showLike(volumeNode, moving)
            brainNodes = [node for node in found if node in added]  # others may lie where the user has put them
            putInFolder(transformNode, [transformNode, volumeNode, *carriedNodes, *brainNodes])
            for node in [*replaced, *derived(transformNode)]:  # what was made from an earlier result is no longer true
                remove(node)
        except BaseException:
            for node in added:
                remove(node)
            raise
        return transformNode, volumeNode, carriedNodes, found, notes


def qualityOf(transformNode) -> dict:
    """The measures kept with a result, also after the scene was saved and loaded; empty for other transforms."""
    text = transformNode.GetAttribute(QUALITY) if transformNode is not None else None
    return json.loads(text) if text else {}


def restoreInterpolation(scene) -> None:
    """Makes loaded results linear again: Slicer reads every grid transform as cubic, another map between the voxels."""
    for node in slicer.util.getNodesByClass("vtkMRMLGridTransformNode", scene):
        grid = node.GetTransformFromParentAs("vtkOrientedGridTransform", False, False) if qualityOf(node) else None
        if grid is not None:
            grid.SetInterpolationModeToLinear()


def warpedVolume(transformNode):
    """The warped volume of a result, or None where none was made or it was deleted."""
    return transformNode.GetNodeReference(WARPED)


def resultsOf(volumeNode) -> list:
    """The transforms of which a volume is the warped volume; one at most, unless a script has set more."""
    transforms = slicer.util.getNodesByClass("vtkMRMLGridTransformNode", volumeNode.GetScene())
    return [node for node in transforms if warpedVolume(node) is volumeNode]


def referenced(transformNode, which: str):
    """The "fixed" or "moving" volume of a result, or None."""
    return transformNode.GetNodeReference(ROLE[which])


def putInFolder(transformNode, nodes) -> None:
    """Puts nodes into the subject-hierarchy folder of a result, which is made when there is none."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(transformNode.GetScene())
    item = hierarchy.GetItemByDataNode(transformNode)
    folder = hierarchy.GetItemParent(item) if item else 0
    if not folder or hierarchy.GetItemAttribute(folder, FOLDER) != "true":
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), transformNode.GetName())
        hierarchy.SetItemAttribute(folder, FOLDER, "true")
    for node in filter(None, nodes):
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, folder)
        else:
            hierarchy.CreateItem(folder, node)


def remove(node) -> None:
    """Takes a node out of its scene together with the nodes that only serve it."""
    scene = node.GetScene()
    displays = [node.GetNthDisplayNode(index) for index in range(getattr(node, "GetNumberOfDisplayNodes", int)())]
    storages = [node.GetNthStorageNode(index) for index in range(getattr(node, "GetNumberOfStorageNodes", int)())]
    scene.RemoveNode(node)
    for helper in filter(None, displays + storages):
        scene.RemoveNode(helper)


def derived(transformNode, part: str | None = None) -> list:
    """The nodes that show something of a result, all or those of one part."""
    nodes = slicer.util.getNodesByClass("vtkMRMLNode", transformNode.GetScene())
    nodes = [node for node in nodes if node.GetNodeReferenceID(RESULT) == transformNode.GetID()]
    if part is not None:
        return [node for node in nodes if node.GetAttribute(PART) == part]
    found = [node for node in nodes if node.GetAttribute(PART)]
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
    putInFolder(transformNode, [node])
    return node


def _chain(transform):
    while transform is not None:
        yield transform
        transform = transform.GetParentTransformNode()


def _existing(scene, nodeID):
    return scene.GetNodeByID(nodeID) if nodeID else None


def _add(scene, className: str, title: str, added: list):
    node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(title))
    node.SetAttribute(TITLE, title)
    added.append(node)
    return node


def _rename(node, title: str) -> None:
    """Names a node that was there before after what it now holds, unless somebody else has given it its name."""
    given = node.GetAttribute(TITLE)
    if given not in (None, title) and re.fullmatch(re.escape(given) + r"(_\d+)?", node.GetName()):
        node.SetName(node.GetScene().GenerateUniqueName(title))
        node.SetAttribute(TITLE, title)


def _unchanged(scene, className: str, references: dict, parent, notes: list):
    """What an earlier run made of the same nodes, where nobody has changed it since, or None.

    :param references: the nodes it was made of, by the role in which it refers to them.
    :param parent: the transform it was put under, or None.
    :param notes: gets a sentence for each that somebody has changed.
    """
    from ULAERegistrationLib.mrml.contents import still_holds

    for node in slicer.util.getNodesByClass(className, scene):
        if any(node.GetNodeReferenceID(role) != other.GetID() for role, other in references.items()):
            continue
        if node.GetParentTransformNode() is parent and still_holds(node, node.GetAttribute(CONTENTS)):
            return node
        notes.append(_("{name} was changed since it was made, and is kept.").format(name=node.GetName()))
    return None


def _addCarried(scene, source, copy, transformNode, fixed, old, added: list):
    from ULAERegistrationLib.mrml.contents import contents_of

    title = f"{source.GetName()} to {fixed.GetName() if fixed else 'fixed'}"
    copy.SetName(old.GetName() if old is not None else scene.GenerateUniqueName(title))
    copy.SetAttribute(TITLE, old.GetAttribute(TITLE) if old is not None else title)
    node = scene.AddNode(copy)
    added.append(node)
    _rename(node, title)
    node.SetNodeReferenceID(SOURCE, source.GetID())
    node.SetNodeReferenceID(RESULT, transformNode.GetID())
    node.SetAttribute(CONTENTS, contents_of(node))
    if node.IsA("vtkMRMLSegmentationNode") and fixed is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(fixed)  # whoever edits it goes on on the fixed grid
    showLike(node, source)
    return node


def _addBrain(scene, volume, mask, added: list, notes: list):
    """Puts a brain that was found in a volume into the scene, as a segmentation that moves with the volume."""
    from ULAERegistrationLib.mrml.contents import contents_of
    from ULAERegistrationLib.mrml.labels import set_segmentation_from_mask

    parent = volume.GetParentTransformNode()
    parent = parent if parent is not None and parent.IsTransformToWorldLinear() else None
    title = f"{volume.GetName()} brain"
    node = _unchanged(scene, "vtkMRMLSegmentationNode", {BRAIN_OF: volume}, parent, notes)
    if node is None:
        node = _add(scene, "vtkMRMLSegmentationNode", title, added)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetVisibility2DFill(False)  # the outline alone: what lies below is to be looked at
    node.SetAndObserveTransformNodeID(parent.GetID() if parent is not None else None)
    set_segmentation_from_mask(node, mask, "brain")
    _rename(node, title)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetNodeReferenceID(BRAIN_OF, volume.GetID())
    node.SetAttribute(CONTENTS, contents_of(node))
    return node


def showLike(node, like) -> None:
    """Gives a new node the looks of another, unless it has looks of its own."""
    if node.GetDisplayNode() is not None:
        return
    node.CreateDefaultDisplayNodes()
    display, model = node.GetDisplayNode(), like.GetDisplayNode() if like is not None else None
    if display is None or model is None or display.GetClassName() != model.GetClassName():
        return
    display.CopyContent(model)
    if node.IsA("vtkMRMLVolumeNode"):
        display.SetAndObserveColorNodeID(model.GetColorNodeID())
