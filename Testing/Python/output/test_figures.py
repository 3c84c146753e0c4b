"""The pictures show what they say: content is tested, in the arrays the panels hold and in the finished pixels."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from ULAERegistrationLib.flows.jacobian import jacobian, smallest_jacobian
from ULAERegistrationLib.flows.warp import compose_all
from ULAERegistrationLib.geometry.alignment import Alignment
from ULAERegistrationLib.output.canonical_view import CanonicalView
from ULAERegistrationLib.output.figures import (
    GRID_STEP,
    TILE,
    checkerboard,
    colours,
    deformation,
    differences,
    draw,
    overlay,
    steps,
)
from ULAERegistrationLib.output.slices import planes_through

SIZE = (48, 64, 56)


def smooth(channels: int, seed: int, points: int = 7) -> torch.Tensor:
    coarse = torch.randn(1, channels, points, points, points, generator=torch.manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=SIZE, mode="trilinear", align_corners=True)


def brains() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place = np.indices(SIZE) - np.array(SIZE).reshape(3, 1, 1, 1) / 2
    brain = (place**2 / np.array([18, 26, 20]).reshape(3, 1, 1, 1) ** 2).sum(0) < 1
    fixed, moving = ((0.5 + 0.15 * smooth(1, seed)[0, 0].numpy()).clip(0.1, 1) * brain for seed in (1, 2))
    return fixed.astype(np.float32), moving.astype(np.float32), brain


def view_of(flows: list[torch.Tensor], moving: np.ndarray | None = None) -> CanonicalView:
    fixed, other, brain = brains()
    return CanonicalView(
        fixed=fixed,
        moving=other if moving is None else moving,
        brain=brain,
        steps=[flow[0].numpy() for flow in flows],
        totals=[compose_all(flows[:count])[0].numpy() for count in (1, 2, 3)],
    )


@pytest.fixture(scope="module")
def view() -> CanonicalView:
    return view_of([1.2 * smooth(3, 3), 0.6 * smooth(3, 4), 0.3 * smooth(3, 5)])


@pytest.fixture(scope="module")
def still() -> CanonicalView:
    fixed, *_ = brains()
    return view_of([torch.zeros(1, 3, *SIZE)] * 3, moving=fixed)


def panel_images(figure) -> list[list[np.ndarray]]:
    return [[np.asarray(image.get_array()) for image in axes.images] for axes in figure.axes]


def test_left_is_on_the_right_and_up_is_superior_or_anterior() -> None:
    """Radiological convention, from ramps along the array axes, which grow to L, P and S."""
    _, _, brain = brains()
    ramps = dict(zip("LPS", np.indices(SIZE).astype(float), strict=True))
    opposite = {"L": "R", "P": "A", "S": "I"}
    for plane in planes_through(brain):
        left, right, top, bottom = plane.letters
        for letter, ramp in ramps.items():
            picture = plane.cut(ramp)
            if letter in (left, right):
                assert np.all(np.diff(picture, axis=1) == (1 if letter == right else -1))
                assert opposite[letter] in (left, right)
            elif letter in (top, bottom):
                assert np.all(np.diff(picture, axis=0) == (1 if letter == bottom else -1))
                assert opposite[letter] in (top, bottom)
            else:
                assert np.unique(picture) == [plane.index]
    assert [(plane.name, "".join(plane.letters)) for plane in planes_through(brain)] == [
        ("axial", "RLAP"),
        ("coronal", "RLSI"),
        ("sagittal", "APSI"),
    ]


def test_the_planes_cut_the_brain_and_show_all_of_it() -> None:
    _, _, brain = brains()
    for plane in planes_through(brain):
        assert plane.cut(brain).sum() > 0.8 * max(
            brain.sum(axis=tuple(a for a in range(3) if a != plane.axis)).max(), 1
        )
        assert plane.cut(brain).sum() == np.take(brain, plane.index, axis=plane.axis).sum()


def test_the_views_are_the_moving_image_seen_by_simpleitk_through_the_flows(view) -> None:
    def transform(flow: np.ndarray) -> sitk.Transform:
        field = flow.transpose(3, 2, 1, 0).astype(np.float64)
        return sitk.DisplacementFieldTransform(sitk.GetImageFromArray(field, isVector=True))

    moving = sitk.GetImageFromArray(view.moving.transpose(2, 1, 0))
    flows = view.steps
    for plane in view.planes:
        views = view.views(plane)
        for count, seen_view in enumerate(views):
            chain = sitk.CompositeTransform([transform(flow) for flow in flows[:count]] or [sitk.Transform(3, 1)])
            seen = sitk.GetArrayFromImage(sitk.Resample(moving, chain)).transpose(2, 1, 0)
            expected = np.clip(plane.cut(seen) / view.moving_white, 0, 1)
            # W is seen through the stored flow, whose composition interpolates phi1 o phi2 once more than the chain.
            np.testing.assert_allclose(seen_view, expected, atol=0.08 if count == 3 else 1e-3)
            assert np.abs(seen_view - expected).mean() < 1e-3


def test_figure_3_shows_the_views_the_flows_and_their_grids(view) -> None:
    plane = view.planes[0]
    figure = steps(view)
    assert [a.get_title() for a in figure.axes[:5]] == ["moving (M)", "M1", "M2", "warped (W)", "fixed (F)"]
    panels = panel_images(figure)
    for (shown,), seen_view in zip(panels[:4], view.views(plane), strict=True):
        np.testing.assert_array_equal(shown, seen_view)
    np.testing.assert_array_equal(panels[4][0], view.fixed_view(plane))
    assert [a.get_title() for a in figure.axes[6:10]] == ["φ1", "φ2", "φ3", "whole map φ"]
    # The grid over M is the whole map's: its lines run through p + phi(p).
    (lines,) = figure.axes[14].collections
    first = GRID_STEP // 2
    right, down = plane.cut(view.flow[0]), plane.cut(view.flow[1])
    expected = np.stack([np.arange(right.shape[1]) + right[first], first + down[first]], axis=-1)
    np.testing.assert_allclose(lines.get_segments()[0], expected, atol=1e-5)


def test_figure_4_shows_absolute_differences(view) -> None:
    shown = [image for (image,) in panel_images(differences(view))[:15]]
    for plane, row in zip(view.planes, (shown[:5], shown[5:10], shown[10:]), strict=True):
        m, m1, m2, w = view.views(plane)
        f = view.fixed_view(plane)
        for picture, (a, b) in zip(row, ((m1, m), (m2, m1), (w, m2), (f, m), (f, w)), strict=True):
            np.testing.assert_allclose(picture, np.abs(a - b), atol=1e-6)
            assert picture.max() > 0.01


def test_nothing_moves_in_the_pictures_of_no_flow(still) -> None:
    view = still
    plane = view.planes[0]
    panels = panel_images(steps(view))
    assert all(np.all(panels[i][0] == 0) for i in (6, 7, 8, 9)), "flows are black"
    np.testing.assert_allclose(panels[3][0], panels[0][0], atol=1e-3)
    (lines,) = steps(view).axes[14].collections
    assert all(np.ptp(segment, axis=0).min() == 0 for segment in lines.get_segments()), "lines are straight"
    assert all(np.allclose(image, 0, atol=1e-3) for (image,) in panel_images(differences(view))[:15])
    volume, _ = panel_images(deformation(view))[0]
    np.testing.assert_allclose(volume[plane.cut(still.brain)], 0, atol=1e-6)


def test_two_equal_brains_overlay_in_grey_and_different_ones_in_colour(still, view) -> None:
    for (picture,) in panel_images(overlay(still)):
        np.testing.assert_allclose(picture[..., 0], picture[..., 1], atol=1e-3)
    before, *_, after = view.views(view.planes[2])
    panels = panel_images(overlay(view))
    for panel, moving in ((panels[2][0], before), (panels[5][0], after)):
        np.testing.assert_array_equal(panel[..., 0], moving)
        np.testing.assert_array_equal(panel[..., 1], view.fixed_view(view.planes[2]))


def test_the_checkerboard_alternates_between_the_two_brains(view) -> None:
    plane = view.planes[0]
    fixed, (*_, after) = view.fixed_view(plane), view.views(plane)
    board = panel_images(checkerboard(view))[3][0][..., 0]
    tile = TILE
    np.testing.assert_array_equal(board[:tile, :tile], fixed[:tile, :tile])
    np.testing.assert_array_equal(board[:tile, tile : 2 * tile], after[:tile, tile : 2 * tile])
    np.testing.assert_array_equal(board[tile : 2 * tile, :tile], after[tile : 2 * tile, :tile])


def test_the_deformation_maps_are_the_jacobian_the_folds_and_the_length(view) -> None:
    view = replace(view, totals=[*view.totals[:2], 5 * view.flow])
    flow = torch.from_numpy(view.flow)[None]
    determinant, folds = jacobian(flow)[0].numpy(), smallest_jacobian(flow)[0].numpy() <= 0
    panels = panel_images(deformation(view))
    for column, plane in enumerate(view.planes):
        inside = plane.cut(view.brain)
        (volume, marks), (length,) = panels[column], panels[3 + column]
        expected = np.log2(np.maximum(plane.cut(determinant), 1e-3))
        np.testing.assert_allclose(volume[inside], expected[inside], atol=1e-3)
        np.testing.assert_array_equal(marks[..., 3] == 1, plane.cut(folds) & inside)
        moved = np.linalg.norm(np.stack([plane.cut(c) for c in view.flow]), axis=0)
        np.testing.assert_allclose(length[inside], moved[inside], rtol=1e-5)
    assert any(marks[..., 3].any() for _, marks in panels[:3])


@pytest.mark.parametrize(("right", "down", "colour"), [(3, 0, "red"), (-3, 0, "cyan"), (0, -3, "green")])
def test_hue_is_the_direction_and_brightness_the_length(right: float, down: float, colour: str) -> None:
    full = colours(np.array([[right]]), np.array([[down]]), full=3)[0, 0]
    half = colours(np.array([[right / 4]]), np.array([[down / 4]]), full=3)[0, 0]
    strong = {"red": [0], "cyan": [1, 2], "green": [1]}[colour]
    assert set(np.flatnonzero(full > 0.9)) >= set(strong)
    assert full.argmin() not in strong
    np.testing.assert_allclose(half, full / 2, atol=1e-6)


def test_every_picture_is_a_dark_png_with_something_on_it(view) -> None:
    pictures = draw(view)
    assert [p.name for p in pictures] == ["overlay", "checkerboard", "steps", "differences", "deformation"]
    for picture in pictures:
        pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).astype(int)
        assert pixels[:4, :4].max() == 0, "the background is dark"
        assert (pixels.max(axis=2) > 60).mean() > 0.05
        assert picture.alt
        assert picture.caption.endswith(".")
    coloured = np.asarray(Image.open(io.BytesIO(pictures[0].png)).convert("RGB")).astype(int)
    assert ((coloured[..., 1] - coloured[..., 0]) > 40).any(), "fixed is green"
    assert ((coloured[..., 0] - coloured[..., 1]) > 40).any(), "moving is magenta"


def test_drawing_needs_no_pyplot_and_importing_no_matplotlib() -> None:
    program = (
        "import sys, ULAERegistrationLib.output.figures as f; assert 'matplotlib' not in sys.modules;"
        "import numpy as np; from ULAERegistrationLib.output.slices import canvas, planes_through, png;"
        "png(canvas([planes_through(np.ones((9, 9, 9), bool))])[0]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_lengths_are_in_the_fixed_images_millimetres(view) -> None:
    halved = sitk.AffineTransform(3)
    halved.Scale(2.0)  # the fixed image is half as large as the canonical brain
    shown = [
        panel_images(deformation(replace(view, alignment=alignment)))[3][0]
        for alignment in (None, Alignment(halved, sitk.AffineTransform(3)))
    ]
    np.testing.assert_allclose(shown[1], shown[0] / 2, rtol=1e-5)
