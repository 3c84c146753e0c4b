"""Maps of a result as volumes in the scene: Jacobian determinant, displacement, differences between steps; and Dice."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from .nodes import showLike
from .outputs import addDerived

# Anchors of the colour tables: position, then red, green, blue.
DIVERGING = (
    (0.0, (0.13, 0.28, 0.65)),
    (0.25, (0.45, 0.65, 0.88)),
    (0.5, (1.0, 1.0, 1.0)),
    (0.75, (0.93, 0.55, 0.4)),
    (1.0, (0.65, 0.06, 0.13)),
)
SEQUENTIAL = (
    (0.0, (0.0, 0.0, 0.0)),
    (0.3, (0.35, 0.07, 0.43)),
    (0.6, (0.85, 0.25, 0.25)),
    (0.85, (0.98, 0.7, 0.2)),
    (1.0, (1.0, 1.0, 0.85)),
)
FOLDED = (1.0, 0.0, 1.0)  # the lowest entry of the Jacobian's table: determinants of 0 and less
COLORS = 256
SQUARE_MM = 24.0  # of the checkerboard: a few squares across each lobe
LEGEND_SIZE = (0.1, 0.35)  # of the view: what it says is scaled to its width, and must not hide the brain


def jacobianMap(transformNode):
    """The Jacobian determinant of a result as a volume: 1 keeps volume, determinants of 0 and less are magenta.

    It is that of the whole map, linear part included, by central differences, which miss folds of single voxels.

    :return: scalar volume on the grid of the displacement field.
    """
    from ULAERegistrationLib.mrml.transforms import field_from_node, jacobian_determinant
    from ULAERegistrationLib.mrml.volumes import set_volume

    image = jacobian_determinant(field_from_node(transformNode))
    node = addDerived(transformNode, "vtkMRMLScalarVolumeNode", "jacobian", "Jacobian determinant")
    set_volume(node, image)
    table = colorTable(node.GetScene(), "ULAE Jacobian (blue 0, white 1, red 2)", DIVERGING, FOLDED)
    _show(node, table, (0.0, 2.0), "Jacobian")
    return node


def magnitudeMap(transformNode, field):
    """The length of the displacement vectors, mm, as a volume.

    :param field: SimpleITK vector image (LPS).
    """
    import SimpleITK as sitk

    from ULAERegistrationLib.mrml.volumes import set_volume

    image = sitk.VectorMagnitude(field)
    node = addDerived(transformNode, "vtkMRMLScalarVolumeNode", "magnitude", "displacement (mm)")
    set_volume(node, image)
    highest = max(1.0, float(np.percentile(sitk.GetArrayViewFromImage(image), 99.5)))
    _show(node, colorTable(node.GetScene(), "ULAE displacement", SEQUENTIAL), (0.0, highest), "mm")
    return node


def differenceMaps(transformNode, fixed, moving, fields) -> list:
    """What each step changed in the image, as in the paper's figure 4: |M1 - M|, |M2 - M1|, |W - M2|.

    :param fields: total displacement after the alignment and after each step (SimpleITK, LPS).
    :return: one volume for each step, on the fixed grid, all with the same grey scale.
    """
    import SimpleITK as sitk

    from ULAERegistrationLib.mrml.transforms import warped_through
    from ULAERegistrationLib.mrml.volumes import image_from_volume, set_volume

    like, image = image_from_volume(fixed), image_from_volume(moving, without=transformNode)
    warped = [warped_through(image, like, field) for field in fields]
    differences = [sitk.Abs(after - before) for before, after in pairwise(warped)]
    highest = max(float(np.percentile(sitk.GetArrayViewFromImage(one), 99.5)) for one in differences)
    names = ("|M1 - M|", "|M2 - M1|", "|W - M2|")
    nodes = []
    for number, (name, difference) in enumerate(zip(names, differences, strict=True), 1):
        node = addDerived(transformNode, "vtkMRMLScalarVolumeNode", f"difference{number}", name)
        set_volume(node, difference)
        _show(node, colorTable(node.GetScene(), "ULAE displacement", SEQUENTIAL), (0.0, highest or 1.0), "difference")
        nodes.append(node)
    return nodes


def checkerboard(transformNode, fixed, moving):
    """Squares of the fixed volume and of the warped moving one in turn, both brought to the same brightness.

    :return: scalar volume on the fixed grid.
    """
    import SimpleITK as sitk

    from ULAERegistrationLib.mrml.transforms import field_from_node, warped_through
    from ULAERegistrationLib.mrml.volumes import image_from_volume, set_volume

    like = image_from_volume(fixed)
    image = image_from_volume(moving, without=transformNode)
    pair = [like, warped_through(image, like, field_from_node(transformNode))]
    bright = []
    for image in pair:
        values = sitk.GetArrayFromImage(image).astype(np.float32)
        inside = values[values > values.min()]
        highest = float(np.percentile(inside, 99.5)) if inside.size else 1.0
        bright.append(np.clip(values / (highest or 1.0), 0, 1) * 255)
    spacing = np.array(like.GetSpacing())[::-1]
    squares = [
        (np.arange(size) * step // SQUARE_MM).astype(int) for size, step in zip(bright[0].shape, spacing, strict=True)
    ]
    other = (squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]) % 2 == 1
    image = sitk.GetImageFromArray(np.where(other, bright[1], bright[0]).astype(np.uint8))
    image.CopyInformation(like)
    node = addDerived(transformNode, "vtkMRMLScalarVolumeNode", "checkerboard", "checkerboard")
    set_volume(node, image)
    showLike(node, fixed)
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    return node


def showLayers(**layers) -> None:
    """Shows volumes in the slice views, as `slicer.util.setSliceViewerLayers`, each map with its legend.

    A legend does not notice by itself that its volume was put into a view or taken out of it.
    """
    slicer.util.setSliceViewerLayers(**layers)
    for legend in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        legend.Modified()


def dice(first, second, fixedVolume) -> dict[str, float]:
    """Overlap of the labels two segmentations or label maps have in common, on the fixed grid.

    Segments are matched by name, labels of label maps by number; one that is empty in both is left out, and so are
    negative numbers, which are no labels.

    :raises RegistrationError: nothing in common.
    """
    from ULAERegistrationLib.errors import RegistrationError
    from ULAERegistrationLib.mrml.labels import label_layers
    from ULAERegistrationLib.mrml.volumes import image_from_volume
    from ULAERegistrationLib.overlap import dice_by_name

    like = image_from_volume(fixedVolume)
    found = {}
    for ours, theirs in product(label_layers(first, like), label_layers(second, like)):
        found |= dice_by_name(*ours, *theirs)
    if not found:
        sentence = _("{first} and {second} have no label in common; give matching segments the same name.")
        raise RegistrationError(sentence.format(first=first.GetName(), second=second.GetName()))
    return dict(sorted(found.items()))


def colorTable(scene, name: str, anchors, lowest=None):
    """A colour table of this module in the scene, made when it is not there.

    :param anchors: position 0 to 1 and colour; linear between them.
    :param lowest: colour of the first entry, where it is to stand out.
    """
    node = scene.GetFirstNodeByName(name)
    if node is not None and node.IsA("vtkMRMLColorTableNode"):
        return node
    colors = vtk.vtkColorTransferFunction()
    for position, color in anchors:
        colors.AddRGBPoint(position, *color)
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    node.SetTypeToUser()
    node.SetNumberOfColors(COLORS)
    for index in range(COLORS):
        color = colors.GetColor(index / (COLORS - 1)) if index or lowest is None else lowest
        node.SetColor(index, f"{index / (COLORS - 1):.2f}", *color, 1.0)
    return node


def _show(node, table, window, title: str) -> None:
    """Gives a map its colours, their range, and a legend that says what they mean."""
    showLike(node, None)
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(table.GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*window)
    display.SetInterpolate(True)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText(title)
    legend.SetSize(*LEGEND_SIZE)
    legend.SetNumberOfLabels(3)
