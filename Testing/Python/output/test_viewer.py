"""The report's viewer shows the slices that were computed, in a real browser, by mouse and by keyboard."""

from __future__ import annotations

import base64
import sys
from io import BytesIO

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from ULAERegistrationLib.output.canonical_view import CanonicalView
from ULAERegistrationLib.output.jpeg import jpeg
from ULAERegistrationLib.output.slices import planes_through
from ULAERegistrationLib.output.viewer import FLOW_STEP, side_by_side, stages, viewer

SIZE = (40, 48, 44)
SHIFT = 3  # voxels along L; the grid's lines of the moving image then lie 3 voxels further right
GRID = 7


def smooth(seed: int) -> np.ndarray:
    """An image of random blobs in [0, 1]."""
    image = sitk.GetImageFromArray(np.random.default_rng(seed).random(SIZE, np.float32))
    image = sitk.RescaleIntensity(sitk.DiscreteGaussian(image, 9), 0, 1)
    return sitk.GetArrayFromImage(image)


@pytest.fixture(scope="module")
def view() -> CanonicalView:
    brain = np.zeros(SIZE, bool)
    brain[5:-5, 5:-5, 5:-5] = True
    steps = [np.zeros((3, *SIZE), np.float32) for _ in range(3)]
    for step in steps:
        step[0] = -SHIFT
    return CanonicalView(
        fixed=smooth(1), moving=smooth(2), brain=brain, steps=steps, totals=[steps[0] * n for n in (1, 2, 3)]
    )


@pytest.fixture(scope="module")
def found(view):
    return stages(view, planes_through(view.brain, 4)[0])


def test_every_stage_is_the_moving_image_sampled_once_through_the_flows_so_far(view, found) -> None:
    assert [stage.name for stage in found] == ["Moving", "φ1", "φ2", "φ3", "Fixed"]
    for count, stage in enumerate(found[:-1]):
        # A constant flow of -3 voxels shows, at p, what the moving image has at p - 3.
        start = 1 - count * SHIFT
        expected = np.zeros((38, 46, 42), np.float32)
        expected[max(-start, 0) :] = view.moving[max(start, 0) : start + 38, 1:-1, 1:-1]
        shown = np.clip(expected / view.moving_white, 0, 1) * 255
        assert np.abs(stage.volume - shown).max() <= 1
        if count:
            assert stage.flow.shape == (3, *(-(-n // FLOW_STEP) for n in stage.volume.shape))
            assert np.allclose(stage.flow[0], -count * SHIFT)
            assert stage.flow.base is None  # a view would keep every voxel of the flow in memory
    assert np.abs(found[-1].volume - np.clip(view.fixed[1:-1, 1:-1, 1:-1] / view.fixed_white, 0, 1) * 255).max() <= 1


@pytest.mark.parametrize("has_pillow", [True, False])
def test_the_picture_of_a_volume_holds_every_slice(found, monkeypatch, has_pillow: bool) -> None:
    """Also in Slicer, which may lack matplotlib and so Pillow."""
    if not has_pillow:
        monkeypatch.setitem(sys.modules, "PIL", None)
    volume = found[0].volume
    written = jpeg(side_by_side(volume))
    monkeypatch.undo()
    picture = np.asarray(Image.open(BytesIO(written)))
    length, depth, height = volume.shape
    for z in range(height):
        top, left = z // 12 * depth, z % 12 * length
        slice_ = picture[top : top + depth, left : left + length].T.astype(float)
        assert np.abs(slice_ - volume[:, :, z]).mean() < 3


@pytest.fixture
def page(browser, view, tmp_path):
    """The viewer, opened in the browser."""
    file = tmp_path / "viewer.html"
    file.write_text(f'<!doctype html><meta charset="utf-8"><body>{viewer(view)}</body>', encoding="utf-8")
    browser.get(file.as_uri())
    return Viewer(browser)


class Viewer:
    """What a person does with the viewer, and what the person sees."""

    def __init__(self, browser) -> None:
        self.browser = browser
        self.wait()
        self.canvases = browser.find_elements("tag name", "canvas")
        self.do("cross", "checked = false")

    def do(self, name: str, what: str) -> None:
        self.browser.execute_script(
            f"const one = document.getElementById('viewer-{name}'); one.{what}; one.dispatchEvent(new Event('input'))"
        )
        self.wait()

    def press(self, plane: int, keys: str) -> None:
        self.canvases[plane].send_keys(keys)
        self.wait()

    def wait(self) -> None:
        """Wait until the picture on the screen is the one that was asked for."""
        script = (
            "const done = arguments[0], root = document.getElementById('viewer');"
            "(function look() { root.dataset.drawn ? requestAnimationFrame(() => requestAnimationFrame(done))"
            " : setTimeout(look, 10); })()"
        )
        self.browser.execute_async_script(script)

    def label(self, plane: int) -> str:
        return self.canvases[plane].get_attribute("aria-label")

    def seen(self, plane: int) -> np.ndarray:
        """What a picture shows, [row, column, RGB], of the size of the screen."""
        address = self.browser.execute_script("return arguments[0].toDataURL()", self.canvases[plane])
        return np.asarray(Image.open(BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB"))


def same(seen: np.ndarray, expected: np.ndarray) -> float:
    """The correlation of what is seen with a slice [row, column], away from the letters at the edges."""
    large = np.asarray(Image.fromarray(expected).resize(seen.shape[1::-1], Image.Resampling.BILINEAR))
    inner = tuple(slice(n // 8, -n // 8) for n in large.shape)
    return float(np.corrcoef(seen[..., 0][inner].ravel(), large[inner].ravel())[0, 1])


@pytest.mark.slow
def test_the_browser_shows_the_slices_of_the_stage_that_is_chosen(page, view, found) -> None:
    planes = planes_through(view.brain, 4)
    for number in (0, 2, 4):
        page.do("stage", f"value = {number}")
        volume = np.zeros(SIZE, np.uint8)
        volume[planes[0].box] = found[number].volume
        for at, plane in enumerate(planes):
            assert same(page.seen(at), plane.cut(volume)) > 0.99
    assert page.browser.get_log("browser") == []
    addresses = page.browser.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert [address for address in addresses if not address.startswith("data:")] == []


@pytest.mark.slow
def test_the_swipe_shows_one_stage_on_each_side(page, view, found) -> None:
    page.do("stage", "value = 0")
    page.do("other", "value = 4")
    page.do("divider", "value = 50")
    seen, plane = page.seen(0), planes_through(view.brain, 4)[0]
    middle = seen.shape[1] // 2
    left, right = (found[number].volume[:, :, plane.index - plane.box[2].start].T for number in (0, 4))
    half = left.shape[1] // 2
    assert same(seen[:, : middle - 4], left[:, :half]) > 0.98
    assert same(seen[:, middle + 4 :], right[:, half:]) > 0.98
    assert "Moving, swiped to Fixed" in page.label(0)


@pytest.mark.slow
def test_the_grid_is_straight_in_the_moving_image_and_bent_with_it(page) -> None:
    page.press(0, "g")
    for number in range(4):
        page.do("stage", f"value = {number}")
        seen = page.seen(0).astype(int)
        yellow = (seen[..., 0] - seen[..., 2] > 60).mean(axis=0)
        scale = seen.shape[1] / 38
        # A column x of this stage lies at x - 3 * number in the moving image.
        expected = [x for x in range(1, 37) if (x - number * SHIFT) % GRID == 0]
        lines = np.flatnonzero(yellow > 0.7)
        centres = [group.mean() / scale - 0.5 for group in np.split(lines, np.flatnonzero(np.diff(lines) > 2) + 1)]
        assert np.allclose([x for x in centres if 0.5 < x < 36.5], expected, atol=0.35)
    page.do("stage", "value = 4")
    assert not (page.seen(0).astype(int)[..., 0] - page.seen(0)[..., 2] > 60).any()


@pytest.mark.slow
def test_keys_and_clicks_move_through_the_slices_and_the_stages(page) -> None:
    assert page.label(0) == "Axial slice 22 of 42, stage φ3"
    page.press(0, "\ue013\ue013")  # arrow up
    assert page.label(0).startswith("Axial slice 24 of 42")
    page.press(1, "\ue012")  # arrow left
    assert page.label(0).endswith("stage φ2")
    page.press(2, "s")
    assert page.label(2).endswith("stage φ2, swiped to Fixed")
    page.press(2, "s")
    page.canvases[1].click()  # in the middle, which lies between two voxels
    page.wait()
    assert page.label(2).startswith(("Sagittal slice 19 of 38", "Sagittal slice 20 of 38"))
    assert page.label(0).startswith(("Axial slice 21 of 42", "Axial slice 22 of 42"))


@pytest.mark.slow
def test_every_control_has_a_name_for_those_who_cannot_see_it(page) -> None:
    tree = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"slider", "checkbox", "combobox", "button", "image"}
    named = [(node["role"]["value"], node["name"]["value"].strip()) for node in tree if node["role"]["value"] in roles]
    assert len(named) == 5 + 3 + 1 + 5 + 3
    assert all(name for _, name in named)
    assert {("slider", "Stage"), ("slider", "Coronal"), ("checkbox", "Deformed grid")} <= set(named)
