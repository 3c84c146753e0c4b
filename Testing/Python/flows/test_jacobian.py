"""Determinants and folds are those of SimpleITK and of known maps."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from made_up_flows import SIZE, as_itk_field, smooth_flow

from ULAERegistrationLib.flows import jacobian
from ULAERegistrationLib.flows.jacobian import corner_jacobians, jacobian_and_smallest, smallest_jacobian


def jacobian_determinant(flow: np.ndarray) -> np.ndarray:
    return jacobian.jacobian(torch.from_numpy(np.ascontiguousarray(flow, dtype=np.float32))[None])[0].numpy()


def folded(flow: np.ndarray) -> np.ndarray:
    return smallest_jacobian(torch.from_numpy(np.ascontiguousarray(flow, dtype=np.float32))[None])[0].numpy() <= 0


def test_jacobian_determinant_is_simpleitks_inside_the_grid() -> None:
    flow = smooth_flow(1.5)
    itk = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(as_itk_field(flow))).transpose(2, 1, 0)
    inner = (slice(1, -1),) * 3
    assert itk.std() > 0.2
    np.testing.assert_allclose(jacobian_determinant(flow)[inner], itk[inner], atol=1e-4)


def test_jacobian_of_a_linear_map_is_its_determinant_up_to_the_border() -> None:
    matrix = np.array([[1.2, 0.1, 0.0], [-0.2, 0.9, 0.3], [0.0, 0.1, 1.1]])
    flow = np.einsum("ij,jlps->ilps", matrix - np.eye(3), np.indices(SIZE)).astype(np.float32)
    np.testing.assert_allclose(jacobian_determinant(flow), np.linalg.det(matrix), rtol=1e-4)
    np.testing.assert_allclose(smallest_jacobian(torch.from_numpy(flow)[None]), np.linalg.det(matrix), rtol=1e-3)


def test_a_fold_that_central_differences_miss_is_counted() -> None:
    flow = np.zeros((3, *SIZE), np.float32)
    flow[0, 10, 12, 12] = 1.5  # one point jumps over its neighbour, whose own neighbours stay in order
    assert jacobian_determinant(flow)[10, 12, 12] == pytest.approx(1.0)
    assert folded(flow)[10, 12, 12]
    assert not folded(flow)[13, 12, 12]


def test_a_voxel_folds_where_a_corner_of_it_turns_inside_out() -> None:
    """Against determinants by numpy of each voxel's edges, one corner at a time."""
    flow = smooth_flow(4.0, (9, 11, 18))
    points = flow + np.indices(flow.shape[1:])
    expected = np.zeros(flow.shape[1:], bool)
    for signs in np.ndindex(2, 2, 2):
        edges = []
        for axis, backward in enumerate(signs):
            edge = np.diff(points, axis=axis + 1)
            ends = [(0, 0)] * 4
            ends[axis + 1] = (1, 0) if backward else (0, 1)
            edges.append(np.pad(edge, ends, mode="edge"))
        expected |= np.linalg.det(np.stack(edges).transpose(2, 3, 4, 0, 1)) <= 0
    assert 0.01 < expected.mean() < 0.9
    assert (folded(flow) == expected).mean() > 0.9999
    assert (folded(flow) >= (jacobian_determinant(flow) < -1e-5)).all()


def test_the_central_determinant_is_the_mean_of_the_corners() -> None:
    flow = torch.from_numpy(smooth_flow(2.0))[None]
    np.testing.assert_allclose(
        jacobian_determinant(flow[0].numpy()), corner_jacobians(flow).mean(1)[0], atol=1e-4, rtol=1e-4
    )


def test_both_determinants_are_the_same_when_computed_together() -> None:
    flow = torch.from_numpy(smooth_flow(2.0, (19, 11, 18)))[None]
    central, smallest = jacobian_and_smallest(flow)
    torch.testing.assert_close(central, jacobian.jacobian(flow), atol=1e-5, rtol=1e-5)
    assert torch.equal(smallest, smallest_jacobian(flow))


def test_corner_determinants_can_be_learned_from() -> None:
    flow = torch.from_numpy(smooth_flow(3.0))[None].requires_grad_()
    before = corner_jacobians(flow).relu().sub(corner_jacobians(flow)).sum()
    before.backward()
    with torch.no_grad():
        unfolded = flow - 0.01 * flow.grad
    after = corner_jacobians(unfolded)
    assert after[after < 0].abs().sum() < before.detach()
