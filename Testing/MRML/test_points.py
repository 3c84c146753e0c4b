"""Slicer's own markups files are read in the world that Slicer shows, and Slicer reads back what was carried."""

from __future__ import annotations

import numpy as np
import pytest
import slicer

from ULAERegistrationLib.files.points import read_points, write_points

RAS = np.array([[10.0, -20.0, 30.0], [1.5, 2.5, -3.5]])


@pytest.mark.parametrize(
    ("ending", "storage"),
    [(".mrk.json", "vtkMRMLMarkupsJsonStorageNode"), (".fcsv", "vtkMRMLMarkupsFiducialStorageNode")],
)
@pytest.mark.parametrize("frame", ["RAS", "LPS"])
def test_slicers_points_go_through_our_reader_and_writer_and_back_into_slicer(tmp_path, ending, storage, frame):
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for point in RAS:
        node.AddControlPoint(*point)
    keeper = scene.AddNode(getattr(slicer, storage)())
    keeper.SetCoordinateSystem(getattr(keeper, f"CoordinateSystem{frame}"))
    keeper.SetFileName(str(tmp_path / f"points{ending}"))
    assert keeper.WriteData(node)

    file = read_points(tmp_path / f"points{ending}")
    assert np.allclose(file.points, RAS * [-1, -1, 1])
    moved = tmp_path / f"moved{ending}"
    write_points(file.points + np.array([1, 2, 3]), file, moved)

    keeper.SetFileName(str(moved))
    again = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    assert keeper.ReadData(again)
    there = [again.GetNthControlPointPosition(i) for i in range(again.GetNumberOfControlPoints())]
    assert np.allclose(there, RAS + np.array([-1, -2, 3]))
