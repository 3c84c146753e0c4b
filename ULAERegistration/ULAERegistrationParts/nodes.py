"""Nodes of any scene: made with a name, named again, given looks and removed."""

from __future__ import annotations

import re

TITLE = "ULAERegistration.title"  # attribute of a node to which the module gave its name: that name without a number


def add(scene, className: str, title: str, added: list):
    node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(title))
    node.SetAttribute(TITLE, title)
    added.append(node)
    return node


def rename(node, title: str) -> None:
    """Names a node that was there before after what it now holds, unless somebody else has given it its name."""
    given = node.GetAttribute(TITLE)
    if given not in (None, title) and re.fullmatch(re.escape(given) + r"(_\d+)?", node.GetName()):
        node.SetName(node.GetScene().GenerateUniqueName(title))
        node.SetAttribute(TITLE, title)


def remove(node) -> None:
    """Takes a node out of its scene together with the nodes that only serve it."""
    scene = node.GetScene()
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
