"""The real worker process, which does as it is told, around a registration that takes no time or around the real one.

    python worker.py known|heads|real BEHAVIOUR STAGE job.json

Everything is the product's own: files, JSON lines, error sentences, exit status. Only "known" replaces `register()` by
a known smooth map (`known_map`), which tests can compute as well; so does "heads", which takes the scans for whole
heads and finds `known_brain` in each where the settings say so and no mask is given. Both do without torch, whose
loading takes most of the seconds of a process that computes nothing. On reaching STAGE (the beginning of a message), it
behaves: "go" on, "pause" for a second, "hang", "talk" (and hang), "refuse" (RegistrationError), "fail" (any other
error), "exhaust" (MemoryError), "crash" (SIGSEGV), "kill" (SIGKILL), "spawn" (start a child that ignores signals, and
hang). So a test that waits for a stage is sure to see it: stages that go by may come in one batch, of which the panel
shows the last.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import SimpleITK as sitk

from ULAERegistrationLib.progress import (
    ALIGNMENT,
    FIELD,
    NETWORK,
    REFINEMENT,
    WRITING_REPORT,
    WRITING_STEPS,
    WRITING_TRANSFORM,
    WRITING_WARPED,
    step_message,
)

REGISTERING = (
    ALIGNMENT.message,
    NETWORK.message,
    *(step_message(number, 3) for number in (1, 2, 3)),
    REFINEMENT.message,
    FIELD.message,
)
STAGES = (*REGISTERING, WRITING_TRANSFORM, WRITING_WARPED)  # until the result is there
EXTRAS = (WRITING_STEPS, WRITING_REPORT)  # after that
OWN_STEP = (1.0, 2.0, 2.0)  # mm: what each of the three steps adds to the shift of the centres
CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
PAUSE_SECONDS = 1.0
FIELD_SPACING, STEP_SPACING = 4.0, 6.0  # mm, coarse to be quick
QUALITY = {
    "verdict": "good",
    "reasons": ["The brains match better than before (0.25 to 0.55 of 1)"],
    "ncc_before": 0.25,
    "ncc_after": 0.55,
    "mse_before": 0.02,
    "mse_after": 0.01,
    "folded_percent": 0.01,
    "folded_percent_brain": 0.03,
    "jacobian_min": 0.2,
    "jacobian_max": 3.1,
    "log_jacobian_sd": 0.3,
    "displacement_mean_mm": 2.5,
    "displacement_max_mm": 9.0,
    "seconds": {"alignment": 1.0, "network": 2.0},
}


def known_map(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """Fixed to moving world: the shift of the two centres, after a smooth waving of up to about 5 mm."""
    from ULAERegistrationLib.geometry.transforms import covering_grid

    # Wider than the field's own margin: where its grid ends a B-spline breaks off.
    wave = sitk.BSplineTransformInitializer(covering_grid(fixed, 5.0, 30.0), [5, 5, 5])
    count = len(wave.GetParameters())
    wave.SetParameters([12.0 * (((index * 7919) % 199) / 99.0 - 1.0) for index in range(count)])
    return sitk.CompositeTransform([_shift(fixed, moving), wave])


def known_step(fixed: sitk.Image, moving: sitk.Image, step: int) -> sitk.Transform:
    """Fixed to moving world after the alignment (0) and after each step."""
    offset = _shift(fixed, moving).GetParameters()
    return sitk.TranslationTransform(3, [one + step * own for one, own in zip(offset, OWN_STEP, strict=True)])


def _shift(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    centres = [
        one.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in one.GetSize()]) for one in (fixed, moving)
    ]
    return sitk.TranslationTransform(3, [b - a for a, b in zip(*centres, strict=True)])


def known_brain(image: sitk.Image) -> sitk.Image:
    """What is found in a scan that is taken for a whole head."""
    return sitk.Cast(image > 100, sitk.sitkUInt8)


def behave(behaviour: str) -> None:
    """Ends, fails or waits, as told."""
    from ULAERegistrationLib.errors import RegistrationError

    if behaviour == "talk":
        print("a library has something to say", flush=True)
        time.sleep(600)
    elif behaviour == "pause":
        time.sleep(PAUSE_SECONDS)
    elif behaviour == "hang":
        time.sleep(600)
    elif behaviour == "spawn":
        child = subprocess.Popen([sys.executable, "-c", CHILD])
        print(f"child {child.pid}", file=sys.stderr, flush=True)
        time.sleep(600)
    elif behaviour == "refuse":
        raise RegistrationError("The fixed image has no brain; choose another volume.")
    elif behaviour == "fail":
        raise ZeroDivisionError("something unforeseen")
    elif behaviour == "exhaust":
        raise MemoryError
    elif behaviour == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif behaviour == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def register(
    fixed, moving, settings, fixed_mask, moving_mask, initial_transform, progress, heads=False, one_person=False
):
    """Stands for the library's `register`, with the same arguments and what the worker needs of its result."""
    from ULAERegistrationLib.geometry.resampling import resample
    from ULAERegistrationLib.geometry.transforms import displacement_field, field_transform

    fixed, moving = sitk.ReadImage(str(fixed)), sitk.ReadImage(str(moving))
    for number, stage in enumerate(REGISTERING):
        progress(number / len(REGISTERING), stage)
    total = known_map(fixed, moving)
    field = displacement_field(total, fixed, FIELD_SPACING)
    transform = field_transform(field)
    brains = [
        _brain_of(image, mask, heads and settings.brain == "auto")
        for image, mask in zip((fixed, moving), (fixed_mask, moving_mask), strict=True)
    ]
    steps = [
        SimpleNamespace(
            coarse_transform=sitk.TranslationTransform(3, OWN_STEP),
            cumulative_transform=known_step(fixed, moving, number),
        )
        for number in (1, 2, 3)
    ]
    return SimpleNamespace(
        fixed=fixed,
        transform=transform,
        displacement_field=lambda: field,
        warped=resample(moving, fixed, transform),
        quality_record=lambda: QUALITY | {"rigid_alone": one_person and settings.alignment != "affine"},
        alignment=SimpleNamespace(fixed_to_moving=_shift(fixed, moving)),
        steps=steps,
        report_content=lambda: None,
        fixed_mask=brains[0],
        moving_mask=brains[1],
    )


def _brain_of(image: sitk.Image, mask: str | None, find: bool) -> sitk.Image | None:
    if mask is not None:
        return sitk.ReadImage(mask)
    return known_brain(image) if find else None


def main() -> int:
    registration, behaviour, stage, job_file = sys.argv[1:]
    from ULAERegistrationLib.process import worker

    class Reporter(worker.Reporter):
        def progress(self, fraction, message):
            super().progress(fraction, message)
            if message.startswith(stage):
                behave(behaviour)

    worker.Reporter = Reporter
    _read_only_ascii()
    if registration != "real":
        _replace_registration(heads=registration == "heads", one_person=registration == "one person")
    return worker.main([job_file])


def _read_only_ascii() -> None:
    """ITK in Windows' python.exe cannot open a path with letters beyond ASCII, such as those of an account's name."""
    for name in ("ReadImage", "WriteImage", "ReadTransform", "WriteTransform"):
        setattr(sitk, name, _narrow(getattr(sitk, name)))


def _narrow(real):
    def narrow(*arguments, **named):
        for path in (one for one in (*arguments, *named.values()) if isinstance(one, str | Path)):
            if not str(path).isascii():
                raise RuntimeError(f"ITK cannot open {path!r}")
        return real(*arguments, **named)

    return narrow


def _replace_registration(heads: bool, one_person: bool) -> None:
    """Put the known registration, coarse fields and a report of one word in the places of the product's own."""

    def write_report(content, path: Path) -> None:
        path.write_text("<html>report</html>", encoding="utf-8")

    import ULAERegistrationLib

    library = ULAERegistrationLib.__name__
    for name, content in {
        "torch": {},
        f"{library}.result": {"Registration": SimpleNamespace},
        f"{library}.output.folder": {"STEP_SPACING": STEP_SPACING},
        f"{library}.output.report": {"write_report": write_report},
    }.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(content)
    ULAERegistrationLib.register = functools.partial(register, heads=heads, one_person=one_person)


if __name__ == "__main__":
    sys.exit(main())
