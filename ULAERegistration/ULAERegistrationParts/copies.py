"""What a run makes beside its transform: copies of what belongs to the moving volume, and brains that were found.

Somebody may correct them. A node that has been changed since it was made is left alone, and a new one is made.
"""

from __future__ import annotations

from slicer.i18n import tr as _

from .nodes import TITLE, Changes, nodesOf, rename, showLike

SOURCE, RESULT = "ULAERegistrationSource", "ULAERegistrationTransform"  # references of a node that was carried along
BRAIN_OF = "ULAERegistrationBrainOf"  # reference of a segmentation to the volume in which this brain was found
CONTENTS = "ULAERegistration.contents"  # attribute of either: what it held when it was made


def addCarried(scene, source, copy, transformNode, fixed, changes: Changes, notes: list) -> tuple:
    """Puts a copy that was carried along into the scene; returns its node, and the one of an earlier run or None."""
    from ULAERegistrationLib.mrml.contents import contents_of

    old = _unchanged(scene, copy.GetClassName(), {SOURCE: source, RESULT: transformNode}, None, notes)
    title = f"{source.GetName()} to {fixed.GetName() if fixed else 'fixed'}"
    copy.SetName(old.GetName() if old is not None else scene.GenerateUniqueName(title))
    copy.SetAttribute(TITLE, old.GetAttribute(TITLE) if old is not None else title)
    node = scene.AddNode(copy)
    changes.added.append(node)
    rename(node, title)
    node.SetNodeReferenceID(SOURCE, source.GetID())
    node.SetNodeReferenceID(RESULT, transformNode.GetID())
    node.SetAttribute(CONTENTS, contents_of(node))
    if node.IsA("vtkMRMLSegmentationNode") and fixed is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(fixed)  # whoever edits it goes on on the fixed grid
    showLike(node, source)
    return node, old


def addBrain(scene, volume, mask, changes: Changes, notes: list):
    """Puts a brain that was found in a volume into the scene, as a segmentation that moves with the volume."""
    from ULAERegistrationLib.mrml.contents import contents_of
    from ULAERegistrationLib.mrml.labels import set_segmentation_from_mask

    parent = volume.GetParentTransformNode()
    parent = parent if parent is not None and parent.IsTransformToWorldLinear() else None
    title = f"{volume.GetName()} brain"
    node = _unchanged(scene, "vtkMRMLSegmentationNode", {BRAIN_OF: volume}, parent, notes)
    if node is None:
        node = changes.add("vtkMRMLSegmentationNode", title)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetVisibility2DFill(False)  # the outline alone: what lies below is to be looked at
    else:
        changes.overwrite(node)
    node.SetAndObserveTransformNodeID(parent.GetID() if parent is not None else None)
    set_segmentation_from_mask(node, mask, "brain")
    rename(node, title)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetNodeReferenceID(BRAIN_OF, volume.GetID())
    node.SetAttribute(CONTENTS, contents_of(node))
    return node


def _unchanged(scene, className: str, references: dict, parent, notes: list):
    """What an earlier run made of the same nodes, where nobody has changed it since, or None.

    :param references: the nodes it was made of, by the role in which it refers to them.
    :param parent: the transform it was put under, or None.
    :param notes: gets a sentence for each that somebody has changed.
    """
    from ULAERegistrationLib.mrml.contents import still_holds

    for node in nodesOf(scene, className):
        if any(node.GetNodeReferenceID(role) != other.GetID() for role, other in references.items()):
            continue
        if node.GetParentTransformNode() is parent and still_holds(node, node.GetAttribute(CONTENTS)):
            return node
        notes.append(_("{name} was changed since it was made, and is kept.").format(name=node.GetName()))
    return None
