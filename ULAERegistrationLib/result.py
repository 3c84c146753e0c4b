"""The result of a registration: the transform, the warped volume, the three steps and the quality."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from .files.volumes import Source, read_labels
from .files.writing import check_output_folder
from .flows.warp import compose_all
from .geometry.alignment import Alignment
from .geometry.brain import brain_mask
from .geometry.flow_warping import warp_through_flow
from .geometry.inverse import inverse, inverse_error
from .geometry.resampling import LabelInterpolation, resample
from .geometry.transforms import displacement_field, step_transform, total_transform
from .memory import return_freed_memory
from .network.weights import Card
from .output.canonical_view import CanonicalView
from .output.folder import STEP_SPACING, SavedStep, save_folder
from .output.report import ReportContent, draw_pictures
from .provenance import Provenance
from .quality import Quality
from .settings import RegistrationSettings
from .tensors import array_of, tensor_of


@dataclass(frozen=True, eq=False)
class Step:
    """One accumulative step of the network (paper section 2.3); the last one includes the refinement.

    Attributes:
        flows_so_far: the flow of each step up to this one, its own last, float32 `[3, L, P, S]`, voxels of the
            canonical grid.
        alignment: the affine maps of both images into the canonical frame.
        fixed, moving: the original images.
        known_total, known_warped: `total` and `warped` where they are known already; None computes them when they are
            asked for.
    """

    flows_so_far: tuple[np.ndarray, ...] = field(repr=False)
    alignment: Alignment = field(repr=False)
    fixed: sitk.Image = field(repr=False)
    moving: sitk.Image = field(repr=False)
    known_total: np.ndarray | None = field(default=None, repr=False)
    known_warped: sitk.Image | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its name: "phi1", "phi2", "phi3"."""
        return f"phi{len(self.flows_so_far)}"

    @property
    def flow(self) -> np.ndarray:
        """This step's own flow, float32 `[3, L, P, S]`, voxels of the canonical grid."""
        return self.flows_so_far[-1]

    @cached_property
    def total(self) -> np.ndarray:
        """The composition of this step's flow with those before it (equation 2), in the same form."""
        if self.known_total is not None:
            return self.known_total
        if len(self.flows_so_far) == 1:
            return self.flow
        return array_of(compose_all([tensor_of(flow)[None] for flow in self.flows_so_far])[0])

    @property
    def transform(self) -> sitk.Transform:
        """This step's own transform, fixed world to fixed world (LPS mm): A_f^-1 o T_i o A_f."""
        return step_transform(self.flow, self.alignment)

    @property
    def coarse_transform(self) -> sitk.Transform:
        """The same, sampled every `STEP_SPACING` mm: small enough to be saved to look at it."""
        return step_transform(self.flow, self.alignment, every=STEP_SPACING)

    @property
    def cumulative_transform(self) -> sitk.Transform:
        """The alignment and all steps so far, fixed world to moving world (LPS mm), as a composite transform."""
        return total_transform(self.total, self.alignment)

    @cached_property
    def warped(self) -> sitk.Image:
        """The original moving image on the fixed grid after the steps so far: M1, M2, W of the paper's figure 3."""
        if self.known_warped is not None:
            return self.known_warped
        return warp_through_flow(self.moving, self.fixed, self.total, self.alignment)


@dataclass(frozen=True, eq=False)
class Registration:
    """A finished registration.

    Attributes:
        fixed, moving: the original images.
        fixed_mask, moving_mask: the brain mask of each, given or extracted, uint8 on its grid; None where the image
            shows the brain alone or was taken as it is.
        moving_brain: the moving image's brain, also where the image shows it alone, with the rim that two found brains
            are shown with; None where it was taken as it is.
        alignment: the affine maps of both images into the canonical frame.
        steps: the three accumulative steps.
        flow: their composition (equation 2), float32 `[3, L, P, S]`, voxels of the canonical grid.
        fixed_canonical, moving_canonical: both images on the canonical grid, float32 `[L, P, S]` in [0, 1]; the moving
            image after the alignment alone. What the network sees is made of these (see `placement.Placement`).
        brain: the fixed image's brain on the canonical grid, with the rim that two found brains are shown with, bool
            `[L, P, S]`.
        transform: fixed world to moving world (LPS mm): an affine transform into the canonical frame, the displacement
            field there, and an affine transform out of it, as a composite. Beyond the field the affine part remains.
        warped: the original moving image sampled once through `transform`, on the fixed grid, in its own pixel type.
        quality: measures of the result.
        settings: as used; a contrast that was to be recognised is the one that was.
        card: of the network's weights: name, licence and more.
        provenance: device, precision, versions and weights of the computation.
    """

    fixed: sitk.Image = field(repr=False)
    moving: sitk.Image = field(repr=False)
    fixed_mask: sitk.Image | None = field(repr=False)
    moving_mask: sitk.Image | None = field(repr=False)
    moving_brain: sitk.Image | None = field(repr=False)
    alignment: Alignment = field(repr=False)
    steps: tuple[Step, ...] = field(repr=False)
    flow: np.ndarray = field(repr=False)
    fixed_canonical: np.ndarray = field(repr=False)
    moving_canonical: np.ndarray = field(repr=False)
    brain: np.ndarray = field(repr=False)
    transform: sitk.CompositeTransform = field(repr=False)
    warped: sitk.Image = field(repr=False)
    quality: Quality
    settings: RegistrationSettings
    card: Card
    provenance: Provenance

    @cached_property
    def aligned(self) -> sitk.Image:
        """The original moving image on the fixed grid after the linear alignment alone."""
        return resample(self.moving, self.fixed, self.alignment.fixed_to_moving)

    def inverse_transform(self) -> sitk.Transform:
        """Return the transform from moving world to fixed world (LPS mm), of the same form as `transform`.

        It is computed by fixed-point iteration on the first call.
        """
        return self._inverse

    def with_inverse_measured(self) -> Registration:
        """Return this registration with the inverse's error over the moving brain added to its `quality`."""
        if self.quality.inverse_mean_mm is not None:
            return self
        return dataclasses.replace(self, quality=self.quality.with_inverse_errors(self._inverse_errors))

    @cached_property
    def _inverse(self) -> sitk.Transform:
        return inverse(self.transform)

    @cached_property
    def _inverse_errors(self) -> np.ndarray:
        mask = brain_mask(self.moving) if self.moving_brain is None else self.moving_brain
        return inverse_error(self.flow, self.alignment, mask)

    def displacement_field(self) -> sitk.Image:
        """Sample `transform` as one displacement field (LPS mm, float32) over the fixed image, as Slicer holds it.

        `settings.field_spacing` is about its spacing. It equals `transform` at its own voxels, which are voxels of the
        fixed image or lie between them (see `geometry.transforms.covering_grid`), and is the identity beyond them.
        """
        return displacement_field(self.transform, self.fixed, self.settings.field_spacing)

    def warp_labels(self, labels: Source, interpolation: LabelInterpolation = "nearest") -> sitk.Image:
        """Warp a label map of the moving image to the fixed grid.

        Args:
            labels: an image or file on the moving image's grid.
            interpolation: "nearest", or "linear", as `resample` explains them.

        Raises:
            RegistrationError: where it is no label map on the moving image's grid.
        """
        image = read_labels(labels, self.moving, "moving")
        return resample(image, self.fixed, self.transform, labels=True, interpolation=interpolation)

    def quality_record(self) -> dict[str, Any]:
        """Return the content of quality.json: the verdict, the measures and the provenance."""
        return {**self.quality.to_dict(), "provenance": self.provenance.to_dict()}

    def view(self) -> CanonicalView:
        """Return what the figures show of this registration."""
        return CanonicalView(
            fixed=self.fixed_canonical,
            moving=self.moving_canonical,
            brain=self.brain,
            steps=[step.flow for step in self.steps],
            totals=[step.total for step in self.steps],
            alignment=self.alignment,
        )

    def report_content(self) -> ReportContent:
        """Collect what `write_report` shows of this registration."""
        return ReportContent(self.view(), self.quality, self.fixed, self.moving, self.card, self.provenance)

    def save(self, folder: str | Path, warped_labels: sitk.Image | None = None) -> None:
        """Write `transform.h5`, `warped.nii.gz`, `steps/`, `quality.json`, figures and `report.html` to a folder.

        What an earlier result has left in the folder is replaced or removed; other files stay.

        Args:
            folder: it may exist.
            warped_labels: as `warp_labels` returns them, to be saved with the rest as `warped_labels.nii.gz`.

        Raises:
            RegistrationError: where the folder cannot be written; nothing has been written then.
        """
        folder = check_output_folder(folder)
        # The inverse comes first, as its many small operations would each wait for Python's lock beside the pictures.
        measured = self.with_inverse_measured()
        return_freed_memory()  # of the inverse, in pieces that the fields of the steps do not fit into
        with ThreadPoolExecutor(max_workers=1) as other_thread:
            # matplotlib draws on one core; the warped volumes are computed on the others meanwhile.
            pictures = other_thread.submit(draw_pictures, self.view())
            aligned, warped = self.aligned, [step.warped for step in self.steps]
        return_freed_memory()  # of the pictures, which the writing of files does not fit into
        save_folder(
            folder,
            transform=self.transform,
            warped=self.warped,
            aligned=aligned,
            steps=[
                SavedStep(step.name, step.coarse_transform, seen) for step, seen in zip(self.steps, warped, strict=True)
            ],
            quality=measured.quality_record(),
            report=measured.report_content(),
            pictures=pictures.result(),
            masks={"fixed": self.fixed_mask, "moving": self.moving_mask},
            warped_labels=warped_labels,
        )
