"""Makes docs/images from real runs of the shipped module: `python -m standin.pictures` from Testing/, or see main().

The panel before, during and after a registration of two people's scans, and slice views with the warped volume over
the fixed one, the three flows in slices and in 3D, the steps of figure 4 and the Jacobian map. Needs the real volumes
and the shipped weights.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]

import numpy as np  # noqa: E402

import standin  # noqa: E402

BRAINS = ("raw/nirep/na16_t1.nii.gz", "raw/oasis/1101_t1.nii.gz")
HEADS = ("raw/whole-head/chris_t1.nii.gz", "heads/pumi_t1.nii.gz")
PANEL_WIDTH = 480
VIEW = (420, 420)
ZOOM = 1.2
LOOK = (14.0, -4.0, 8.0)  # mm right, anterior, superior of the middle of the fixed volume
NOTE = "Drawn by the tests' stand-in for Slicer: in Slicer it looks a little different."
NOTE_HEIGHT = 26  # pixels
GAP = 6  # pixels between the pictures of one row
NAMES = ("Red", "Yellow", "Green")
ORIENTATIONS = ("Axial", "Sagittal", "Coronal")


class Pictures:
    """The application with the panel, two volumes (the fixed and the moving one) and three slice views."""

    def __init__(self, data: Path, files: tuple[str, str], out: Path, preset: str):
        self.app = standin.start()
        import slicer

        from standin import loader, sliceview, threedview

        self.slicer, self.out, self.preset = slicer, out, preset
        self.frame = loader.load_module(ROOT / "ULAERegistration" / "ULAERegistration.py").widgetRepresentation()
        from ULAERegistrationParts import licence

        licence.setAccepted(True)  # of this application's own settings, which end with it
        self.frame._enter()
        self.panel = self.frame.self()
        self.ui = self.panel.ui
        volumes = slicer.modules.volumes.logic()
        self.nodes = []
        for file in files:
            name = Path(file).name.removesuffix("_t1.nii.gz")
            node = volumes.AddArchetypeVolume(str(data / file), f"{Path(file).parent.name} {name}", 0)
            node.CreateDefaultDisplayNodes()
            grey(node)
            self.nodes.append(node)
        logic = self.app.applicationLogic()
        self.views = [sliceview.SliceView(logic, *one, VIEW) for one in zip(NAMES, ORIENTATIONS, strict=True)]
        self.space = threedview.ThreeDView(logic, size=VIEW)
        out.mkdir(parents=True, exist_ok=True)

    def panel_picture(self, name: str, height: int = 1290) -> None:
        """The panel as it is now."""
        import qt

        self.frame.resize(PANEL_WIDTH, height)
        self.frame.show()
        for _ in range(5):
            self.app.processEvents()
        panel = self.frame.grab().toImage()
        picture = qt.QImage(panel.width(), panel.height() + NOTE_HEIGHT, qt.QImage.Format_RGB888)
        picture.fill(qt.QColor("white"))
        painter = qt.QPainter(picture)
        painter.drawImage(0, NOTE_HEIGHT, panel)
        painter.setPen(qt.QColor("black"))
        painter.drawText(10, NOTE_HEIGHT - 8, NOTE)
        painter.end()
        picture.save(str(self.out / f"{name}.png"))

    def slices(self, *texts: str) -> np.ndarray:
        """The three slice views side by side, with a caption each and the sides of the patient."""
        pairs = zip(self.views, texts, strict=False)
        return row([captioned(view.pixels(), text, sides(view)) for view, text in pairs])

    def aim(self, volume=None) -> None:
        """Moves the views to where there is something to see in a brain; None takes the fixed volume."""
        bounds = [0.0] * 6
        (volume or self.nodes[0]).GetRASBounds(bounds)
        middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
        for view in self.views:
            view.fit()
            node = view.logic.GetSliceNode()
            node.SetFieldOfView(*(size / ZOOM for size in node.GetFieldOfView()))
            node.JumpSliceByOffsetting(*(centre + more for centre, more in zip(middle, LOOK, strict=True)))

    def register(self, panel_pictures: bool = True) -> None:
        """Registers by a click, and takes pictures of the panel on the way."""
        from standin.clicking import behave, wait_until

        self.panel.enter()
        self.ui.presetComboBox.setCurrentText(self.preset)
        if panel_pictures:
            self.panel_picture("panel-before")
            behave(self.panel, "pause", "Network, step 2 of 3", "real")
        self.ui.registerButton.click()
        run = self.panel.registerPanel.run
        if panel_pictures:
            wait_until(self.app, lambda: "step 2" in self.ui.stageLabel.text or run.state != "running")
            self.panel_picture("panel-during")
        wait_until(self.app, lambda: run.complete, seconds=3600)
        if run.state != "done":
            raise SystemExit(run.error + run.log)
        self.run = run


def tint(node, colour: str) -> None:
    """Shows a volume in one of Slicer's plain colour tables."""
    node.GetDisplayNode().SetAndObserveColorNodeID(f"vtkMRMLColorTableNode{colour}")


def grey(node) -> None:
    """Brain on black."""
    display = node.GetDisplayNode()
    tint(node, "Grey")
    display.SetAutoWindowLevel(False)
    import slicer

    values = slicer.util.arrayFromVolume(node)
    display.SetWindowLevelMinMax(0, float(np.percentile(values[values > 0], 99.5)))


def sides(view) -> tuple[str, str]:
    """The letters of the patient's sides at the left and the right border of a view."""
    matrix = view.logic.GetSliceNode().GetSliceToRAS()
    to_right = [matrix.GetElement(axis, 0) for axis in range(3)]
    axis = int(np.argmax(np.abs(to_right)))
    letters = ("LPI"[axis], "RAS"[axis])
    return letters if to_right[axis] > 0 else letters[::-1]


def captioned(pixels: np.ndarray, text: str, letters: tuple[str, str] = ("", "")) -> np.ndarray:
    """A picture with a text on top and a letter at the left and the right border."""
    import qt

    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels[..., :3])
    image = qt.QImage(data.data, width, height, 3 * width, qt.QImage.Format_RGB888).convertToFormat(
        qt.QImage.Format_RGBA8888
    )
    painter = qt.QPainter(image)
    font = painter.font()
    font.setPixelSize(15)
    painter.setFont(font)
    middle = height // 2
    for place, words in (((8, 21), text), ((6, middle), letters[0]), ((width - 18, middle), letters[1])):
        for shift, colour in ((1, "black"), (0, "white")):
            painter.setPen(qt.QColor(colour))
            painter.drawText(place[0] + shift, place[1] + shift, words)
    painter.end()
    return np.frombuffer(image.constBits(), np.uint8).reshape(height, width, 4)[..., :3].copy()


def row(pictures) -> np.ndarray:
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)


def brightened(pictures: Pictures, text: str) -> np.ndarray:
    """The three slice views at twice their brightness, which blending has halved."""
    bright = [np.minimum(255, 2 * view.pixels().astype(int)).astype(np.uint8) for view in pictures.views]
    return row([captioned(*one) for one in zip(bright, (text, "", ""), map(sides, pictures.views), strict=True)])


def column(pictures) -> np.ndarray:
    gap = np.full((GAP, pictures[0].shape[1], 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=0)


def save(pixels: np.ndarray, path: Path) -> None:
    import qt

    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels[..., :3])
    qt.QImage(data.data, width, height, 3 * width, qt.QImage.Format_RGB888).save(str(path))


def window_to_brain(node) -> None:
    """Shows a head in the grey levels of its brain, as fat is brighter."""
    import slicer

    values = slicer.util.arrayFromVolume(node)
    middle = values[tuple(slice(size // 3, 2 * size // 3) for size in values.shape)]
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevelMinMax(0, float(np.percentile(middle, 99.5)))


def heads(data: Path, preset: str) -> None:
    """Writes heads.png: two raw heads with the brains that one click has found in them, and the one on the other."""
    pictures = Pictures(data, HEADS, ROOT / "docs" / "images", preset)
    pictures.register(panel_pictures=False)
    run = pictures.run
    brains = (run.fixedMaskNode, run.movingMaskNode)
    composites = [view.logic.GetSliceCompositeNode() for view in pictures.views]

    def show(background, foreground, brain) -> None:
        for composite in composites:
            composite.SetBackgroundVolumeID(background.GetID())
            composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
            composite.SetForegroundOpacity(0.5 if foreground else 0.0)
        for node in brains:
            node.GetDisplayNode().SetVisibility(node is brain)

    for node in (*pictures.nodes, run.volumeNode):
        window_to_brain(node)
    for node in brains:
        node.GetDisplayNode().SetSliceIntersectionThickness(3)
    rows = []
    for node, brain, role in zip(pictures.nodes, brains, ("fixed", "moving"), strict=True):
        show(node, None, brain)
        pictures.aim(node)
        rows.append(pictures.slices(f"{role}: the head, and the brain that was found", "", ""))
    warped = run.volumeNode
    show(pictures.nodes[0], warped, None)
    pictures.aim(pictures.nodes[0])
    for node, colour in ((pictures.nodes[0], "Green"), (warped, "Magenta")):
        tint(node, colour)
    rows.append(brightened(pictures, "after: fixed green, moving magenta"))
    save(column(rows), pictures.out / "heads.png")


def main() -> None:
    """python pictures.py [PRESET]: writes docs/images; python pictures.py heads [PRESET]: heads.png alone."""
    data = Path(os.environ.get("ULAE_DATA", ROOT.parent / "shared" / "data"))
    arguments = sys.argv[1:]
    if arguments[:1] == ["heads"]:
        heads(data, (arguments[1:] or ["Accurate"])[0])
        return
    pictures = Pictures(data, BRAINS, ROOT / "docs" / "images", (arguments or ["Accurate"])[0])
    ui, util = pictures.ui, pictures.slicer.util
    pictures.register()
    run = pictures.run

    ui.makeStepsButton.click()
    pictures.aim()
    # Before and after, in complementary colours: grey where the brains agree.
    stage = util.getNode(f"{run.transformNode.GetName()}, step by step")
    ui.opacitySlider.setValue(0.5)
    ui.stageSlider.setValue(0)
    for node, colour in ((pictures.nodes[0], "Green"), (stage, "Magenta")):
        tint(node, colour)
    rows = []
    for number, name in ((0, "before: fixed green, moving magenta"), (3, "after")):
        ui.stageSlider.setValue(number)
        rows.append(brightened(pictures, name))
    save(column(rows), pictures.out / "overlay.png")
    for node in (pictures.nodes[0], stage):
        tint(node, "Grey")

    ui.opacitySlider.setValue(1.0)
    stages = []
    for number, name in enumerate(("moving, aligned", "after φ1", "after φ2", "after φ3", "fixed")):
        ui.stageSlider.setValue(number)
        stages.append(pictures.slices(name))
    save(row(stages), pictures.out / "stages.png")

    # The three flows, each as deformed grid, arrows and length, over its own stage, which is dimmed for that.
    rows = []
    brightest = stage.GetDisplayNode().GetWindowLevelMax()
    stage.GetDisplayNode().SetWindowLevelMinMax(0, 2.5 * brightest)
    for mode in ("grid", "arrows", "magnitude"):
        ui.modeComboBox.setCurrentText(mode)
        flows = []
        for number in (1, 2, 3):
            ui.stageSlider.setValue(number)
            flows.append(pictures.slices(f"φ{number}, {mode}"))
        rows.append(row(flows))
    save(column(rows), pictures.out / "flows.png")
    ui.slicesCheckBox.click()
    ui.threeDCheckBox.click()
    flows = []
    for number, mode in ((2, "grid"), (2, "arrows"), (2, "contours")):
        ui.stageSlider.setValue(number)
        ui.modeComboBox.setCurrentText(mode)
        pictures.space.look_from(0.6, 1, 0.4)
        flows.append(captioned(pictures.space.pixels(), f"φ{number}, {mode} in 3D"))
    save(row(flows), pictures.out / "flows-3d.png")
    ui.threeDCheckBox.click()
    ui.slicesCheckBox.click()
    ui.modeComboBox.setCurrentText("none")
    stage.GetDisplayNode().SetWindowLevelMinMax(0, brightest)

    differences = []
    for index, name in enumerate(("|M1 - M|", "|M2 - M1|", "|W - M2|"), 1):
        ui.differenceComboBox.setCurrentIndex(index)
        differences.append(pictures.slices(name))
    save(row(differences), pictures.out / "differences.png")
    ui.differenceComboBox.setCurrentIndex(0)

    ui.jacobianButton.click()
    save(pictures.slices("Jacobian determinant", "", ""), pictures.out / "jacobian.png")
    ui.opacitySlider.setValue(0.7)
    ui.stageSlider.setValue(2)
    ui.modeComboBox.setCurrentText("grid")
    pictures.panel_picture("panel-after")


if __name__ == "__main__":
    main()
