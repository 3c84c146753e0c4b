"""Nodes of any scene: made with a name, overwritten, named again, given looks and removed, or all as it was before."""

from __future__ import annotations

import re

TITLE = "ULAERegistration.title"  # attribute of a node to which the module gave its name: that name without a number


def isA(node, *classNames: str) -> bool:
    """Whether something is a node of one of these classes."""
    return hasattr(node, "IsA") and any(node.IsA(name) for name in classNames)


def called(node) -> str:
    """What a node is called in a sentence; of something else, its text in Python."""
    return (node.GetName() or node.GetID()) if isA(node, "vtkMRMLNode") else repr(node)


class Changes:
    """What is done to a scene step by step, so that it can be taken back where a step fails.

    Attributes:
        added: the nodes that are new, but for those that only serve them.

    Args:
        scene: as it is before the first step.
    """

    def __init__(self, scene):
        self.added: list = []
        self._scene = scene
        self._before = nodeIDs(scene)
        self._overwritten: list[tuple] = []  # nodes, and copies of what they were

    def add(self, className: str, title: str):
        """Adds a node with a name of its own."""
        node = self._scene.AddNewNodeByClass(className, self._scene.GenerateUniqueName(title))
        node.SetAttribute(TITLE, title)
        self.added.append(node)
        return node

    def overwrite(self, node) -> None:
        """Notes what a node is and holds, before that is changed."""
        copy = node.NewInstance()
        # Segments are written over where they lie; transforms and voxels are replaced as a whole, and they are large.
        copy.CopyContent(node, not isA(node, "vtkMRMLTransformNode", "vtkMRMLVolumeNode"))
        copy.CopyReferences(node)
        copy.SetName(node.GetName())
        self._overwritten.append((node, copy))

    def takeBack(self) -> None:
        """Makes the scene what it was before. No voxels are copied, for memory may be what is lacking."""
        for node, copy in reversed(self._overwritten):
            node.CopyContent(copy, False)
            node.CopyReferences(copy)
            node.SetName(copy.GetName())
        removeNewNodes(self._scene, self._before)


def nodesOf(scene, className: str = "vtkMRMLNode") -> list:
    """The nodes of a class in any scene; `slicer.util.getNodesByClass` looks into the application's own alone."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return [node for node in nodes if node.IsA(className)]


def nodeIDs(scene) -> set[str]:
    return {node.GetID() for node in nodesOf(scene)}


def removeNewNodes(scene, before: set[str]) -> None:
    """Takes out of a scene all nodes that were not in it when it had only those of these IDs."""
    for node in filter(None, map(scene.GetNodeByID, nodeIDs(scene) - before)):
        scene.RemoveNode(node)


def rename(node, title: str) -> None:
    """Names a node that was there before after what it now holds, unless somebody else has given it its name."""
    given = node.GetAttribute(TITLE)
    if given not in (None, title) and re.fullmatch(re.escape(given) + r"(_\d+)?", node.GetName()):
        node.SetName(node.GetScene().GenerateUniqueName(title))
        node.SetAttribute(TITLE, title)


def remove(node) -> None:
    """Takes a node out of its scene together with the nodes that only serve it; one that is gone already stays so."""
    scene = node.GetScene()
    if scene is None:  # what it served may have taken it along, as a browser its proxies
        return
    displays = [node.GetNthDisplayNode(index) for index in range(getattr(node, "GetNumberOfDisplayNodes", int)())]
    storages = [node.GetNthStorageNode(index) for index in range(getattr(node, "GetNumberOfStorageNodes", int)())]
    scene.RemoveNode(node)
    for helper in filter(None, displays + storages):
        scene.RemoveNode(helper)


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
