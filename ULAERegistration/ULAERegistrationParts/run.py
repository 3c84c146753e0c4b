"""One registration from nodes to nodes: inputs written for a process of its own, outputs put into the scene."""

from __future__ import annotations

import logging
import os
import shutil
import time
from dataclasses import replace

import slicer
import vtk
from slicer.i18n import tr as _

from .nodes import called, isA
from .outputs import Outputs


class Run:
    """A registration under way, and its result. Made by `ULAERegistrationLogic.register`.

    The scene is not touched before everything is computed: on cancel and on failure it stays exactly as it was.

    Attributes:
        state: "running", "done", "failed" or "cancelled".
        complete: whether nothing more is to come. Steps and report come after the state is "done".
        fraction: of the work done, 0 to 1.
        message: the stage in words.
        error: one sentence, where it failed.
        log: what the process wrote beside its progress.
        transformNode: the result, fixed to moving as its from-parent transform; None until done.
        volumeNode: the warped moving volume, or None.
        carriedNodes: what else was carried along, in the order given.
        fixedMaskNode, movingMaskNode: segmentations of the brains that were found, or None: where a mask was given,
            where the volume shows the brain alone, or where they were not wanted.
        quality: the measures, as `Registration.quality`.
        steps: displacement fields of the steps (SimpleITK, LPS), by their names in `process.results`; empty unless
            asked for.
        report: the report as HTML, or an empty string.
        notes: sentences on what came beside the result, and on what could not be done though the registration could.
        seconds: from the start to the result in the scene.
    """

    def __init__(self, fixedVolume, movingVolume, masks, initialTransform, outputs: Outputs, settings, python):
        """Writes the inputs and starts the process.

        :param masks: segmentation or label map of the fixed and of the moving volume, each may be None.
        :param settings: the library's RegistrationSettings.
        :param python: the interpreter, None for the running one; or the whole command of the process, as a list.
        :raises RegistrationError: an input cannot be registered; nothing was started and nothing is left behind.
        """
        import SimpleITK as sitk

        from ULAERegistrationLib.errors import RegistrationError
        from ULAERegistrationLib.files.itk import itk_files
        from ULAERegistrationLib.files.volumes import NAME
        from ULAERegistrationLib.files.written import write_checked
        from ULAERegistrationLib.mrml.labels import mask_image
        from ULAERegistrationLib.mrml.transforms import start_transform
        from ULAERegistrationLib.mrml.volumes import image_from_volume
        from ULAERegistrationLib.process.job import Job, JobDescription

        if fixedVolume is None or movingVolume is None:
            raise RegistrationError(_("Select a fixed and a moving volume."))
        if fixedVolume is movingVolume:
            raise RegistrationError(_("Fixed and moving volume are the same; select two different volumes."))
        _checkClasses(fixedVolume, movingVolume, masks, initialTransform)
        outputs.check(fixedVolume, movingVolume, *filter(None, (*masks, initialTransform)))
        self.fixedVolumeID, self.movingVolumeID = fixedVolume.GetID(), movingVolume.GetID()
        self.transformNode = self.volumeNode = self.fixedMaskNode = self.movingMaskNode = None
        self.carriedNodes, self.notes = [], []
        self.quality, self.steps = {}, {}
        self.error = self.report = ""
        self.seconds = 0.0
        self.state, self.complete = "running", False
        self._outputs = outputs
        self._started = time.monotonic()
        self._scene = fixedVolume.GetScene()
        self._fixed = image_from_volume(fixedVolume)
        self._places = {node.GetID(): _place(node) for node in (fixedVolume, movingVolume)}
        images = {"fixed": self._fixed, "moving": image_from_volume(movingVolume)}
        for name, mask in zip(("fixed", "moving"), masks, strict=True):
            if mask is not None:
                images[f"{name}_mask"] = mask_image(mask, images[name])
        nodes = {"fixed": fixedVolume, "moving": movingVolume, "fixed_mask": masks[0], "moving_mask": masks[1]}
        for name, image in images.items():
            image.SetMetaData(NAME, called(nodes[name]))  # for the report
        start = start_transform(initialTransform, movingVolume) if initialTransform is not None else None

        if settings.model is not None:
            settings = replace(settings, model=os.path.abspath(settings.model))  # the process works in its own folder
        self._job = Job(keep_files=outputs.temporaryFiles)
        try:
            files = {name: f"{name}.nrrd" for name in images}
            try:
                for name, image in images.items():
                    write_checked(image, self._job.folder / f"{name}.nrrd", compress=False)
                if start is not None:
                    files["initial_transform"] = "start.tfm"
                    with itk_files():
                        sitk.WriteTransform(start, str(self._job.folder / "start.tfm"))
            except (OSError, RuntimeError) as error:
                sentence = _("The volumes could not be written to {folder}; free some space there and register again.")
                raise RegistrationError(sentence.format(folder=self._job.folder)) from error
            description = JobDescription(
                **files,
                settings=settings,
                warped=outputs.makeVolume,
                steps=outputs.steps,
                report=outputs.report,
                keep_files=outputs.temporaryFiles,
            )
            own = {"command": python} if isinstance(python, list) else {"python": python}
            self._job.start(description, **own)
        except BaseException:
            self._job.close()
            raise
        # Whoever closes the scene is done with it; a result must not fall into the next one.
        self._closeObserver = self._scene.AddObserver(self._scene.StartCloseEvent, lambda caller, event: self.cancel())

    @property
    def keepsFiles(self) -> bool:
        """Whether the temporary files stay."""
        return self._outputs.temporaryFiles

    @property
    def folder(self):
        """Where the temporary files lie while it runs, and stay if they are to be kept."""
        return self._job.folder

    @property
    def fraction(self) -> float:
        return self._job.fraction

    @property
    def message(self) -> str:
        return self._job.message

    @property
    def log(self) -> str:
        return self._job.log

    def poll(self) -> str:
        """Looks how far it is, and puts the result into the scene when it is there; returns the state.

        Steps and report come after that, until when it goes on looking. It does not wait for the process while that
        runs; after its end, for some seconds at most, for the last of what it wrote (see `Job.poll`).
        """
        if self.complete:
            return self.state
        jobState = self._job.poll()
        for line in self._job.take_log():
            print(f"ULAE Registration: {line}")  # into the Python console, which Slicer keeps in its log as well
        if self.state == "running":
            if jobState == "running" and not self._job.has_result:
                return self.state
            self._conclude(jobState)
        if self.state == "done" and jobState == "running":
            return self.state
        if self.state == "done":
            self._takeExtras(jobState)
        self._close()
        return self.state

    def cancel(self) -> None:
        """Ends the process at once. The scene stays as it was, or keeps the result if that is in it already."""
        if not self.complete:
            self.state = "cancelled" if self.state == "running" else self.state
            self._close()

    def _close(self) -> None:
        self.complete = True
        self._job.close()
        self._scene.RemoveObserver(self._closeObserver)

    def _conclude(self, jobState: str) -> None:
        """Puts the result into the scene, or says why there is none."""
        try:
            if jobState == "done" or self._job.has_result:
                self._finish()
                self.state = "done"
            else:
                self.state, self.error = jobState, self._job.error
        except Exception as error:
            self.state = "failed"
            self.error = _("The result could not be put into the scene: {error}").format(error=sentenceOf(error))
        finally:
            self.seconds = time.monotonic() - self._started

    def _takeExtras(self, jobState: str) -> None:
        """Reads steps and report; a failure takes nothing from the result."""
        from ULAERegistrationLib.process.job import EXTRAS

        folder = self._job.results / EXTRAS
        error = self._job.error
        if jobState == "done":
            try:
                self.steps = {file.stem: _read(file) for file in sorted(folder.glob("steps/*.nrrd"))}
                report = folder / "report.html"
                self.report = report.read_text(encoding="utf-8") if report.is_file() else ""
                return
            except (OSError, RuntimeError, MemoryError) as failure:
                logging.exception("Steps and report could not be read")
                error = failure
        self.notes.append(_("What comes beside the result could not be made: {error}").format(error=error))

    def _finish(self) -> None:
        import json

        folder = self._job.results
        field = _read(folder / "field.nrrd")
        warped = _read(folder / "warped.nrrd") if self._outputs.makeVolume else None
        brains = [self._foundBrain(folder / f"{role}_mask.nrrd") for role in ("fixed", "moving")]
        self.quality = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
        made = self._outputs.commit(
            self._scene,
            self._scene.GetNodeByID(self.fixedVolumeID),
            self._scene.GetNodeByID(self.movingVolumeID),
            self._fixed,
            field,
            warped,
            brains,
            self.quality,
        )
        self.transformNode, self.volumeNode, self.carriedNodes, found, self.notes = made
        self.fixedMaskNode, self.movingMaskNode = found
        for nodeID, place in self._places.items():
            node = self._scene.GetNodeByID(nodeID)
            if node is not None and _place(node) != place:
                sentence = _("{name} was moved while it was registered; the result is for where it lay before.")
                self.notes.append(sentence.format(name=node.GetName()))
        if all(found):
            sentence = _(
                "The brains that were found are in the scene; correct them and choose them as masks to register again."
            )
            self.notes.append(sentence)
        elif any(found):
            sentence = _("{name} was found and is in the scene; correct it and choose it as mask to register again.")
            self.notes.append(sentence.format(name=next(filter(None, found)).GetName()))

    def _foundBrain(self, path):
        """The mask that the process has written where it found a brain, or None."""
        return _read(path) if self._outputs.brainMasks and path.is_file() else None


def _checkClasses(fixed, moving, masks, initialTransform) -> None:
    """Refuses nodes that are none, or none of the classes that they have to be.

    :raises RegistrationError: with the reason.
    """
    from ULAERegistrationLib.errors import RegistrationError

    for node in (fixed, moving):
        if not isA(node, "vtkMRMLScalarVolumeNode") or isA(node, "vtkMRMLLabelMapVolumeNode"):
            raise RegistrationError(_("{name} is no scalar volume; select another one.").format(name=called(node)))
    for node in masks:
        if node is not None and not isA(node, "vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"):
            sentence = _("{name} is no segmentation or label map; select another mask.")
            raise RegistrationError(sentence.format(name=called(node)))
    if initialTransform is not None and not isA(initialTransform, "vtkMRMLTransformNode"):
        raise RegistrationError(_("{name} is no transform; select another one.").format(name=called(initialTransform)))


def _place(node) -> bytes:
    """Where the voxels of a volume lie in the world, to be compared; empty under a transform that is not linear."""
    from ULAERegistrationLib.errors import RegistrationError
    from ULAERegistrationLib.mrml.geometry import world_matrix

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    own = slicer.util.arrayFromVTKMatrix(matrix)
    try:
        return (world_matrix(node) @ own).tobytes()
    except RegistrationError:
        return b""


def sentenceOf(error: BaseException) -> str:
    """What ended something, as one sentence; the whole of what was not expected goes to the log."""
    from ULAERegistrationLib.errors import RegistrationError, sentence_of

    if not isinstance(error, RegistrationError):
        logging.error("The registration failed", exc_info=error)
    return sentence_of(error)


def _read(path):
    """An image that the process has written, the same in every language that is set."""
    import SimpleITK as sitk

    from ULAERegistrationLib.files.itk import itk_files

    with itk_files():
        return sitk.ReadImage(str(path), imageIO="NrrdImageIO")


def pythonExecutable() -> str | None:
    """Slicer's own Python interpreter, or None to use the running one."""
    return shutil.which("PythonSlicer")
