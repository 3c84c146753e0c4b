"""The flows of a pair: where the network and the refinement run, and what is kept of what they find."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ULAERegistrationLib import canonical_flows as canonical_flows_module
from ULAERegistrationLib.canonical_flows import (
    DIFFERENT_CONTRASTS,
    CanonicalFlows,
    _across_contrasts,
    _refined,
    canonical_flows,
)
from ULAERegistrationLib.flows.composed import ComposedFlows
from ULAERegistrationLib.flows.jacobian import smallest_jacobian
from ULAERegistrationLib.flows.refinement import refine
from ULAERegistrationLib.flows.warp import downsample_image, warp
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.network.weights import load_network
from ULAERegistrationLib.progress import REFINEMENT, StageClock
from ULAERegistrationLib.settings import PRESETS, RegistrationSettings
from ULAERegistrationLib.tensors import tensor_of


@pytest.mark.slow
def test_the_refinement_does_not_move_an_image_that_is_registered_to_itself():
    """With the shipped weights, on half the grid. Twenty steps of refinement alone would move it by millimetres."""
    values = sitk.GetArrayFromImage(template()).transpose(2, 1, 0).astype(np.float32) / 255
    brain = downsample_image(tensor_of(np.ascontiguousarray(values))[None, None], 2)
    settings = RegistrationSettings(preset="accurate", refinement_iterations=20, precision="float32")
    network, card = load_network()
    found = canonical_flows(fixed=brain, moving=brain, network=network, card=card, settings=settings)
    assert found.total.abs().max() <= 0.02
    start = ComposedFlows.of([torch.zeros(1, 3, *brain.shape[2:])] * 3)
    alone = refine(start, fixed=brain, moving=brain, settings=settings)
    assert alone.total.abs().max() > 0.5


class PretendedFlows:
    """Flows that keep in mind where they were sent, as this machine has no GPU to send them to."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def to(self, device: torch.device) -> PretendedFlows:
        self.device = device
        return self


@pytest.mark.parametrize(("network_on", "refined_on"), [("cuda", ["cuda", "cpu"]), ("mps", ["cpu"]), ("cpu", ["cpu"])])
def test_the_refinement_runs_where_the_network_ran_and_goes_on_on_the_cpu(monkeypatch, network_on, refined_on):
    """The GPU of this test has too little memory; MPS lacks operations that the refinement needs."""
    said, places = [], []

    def refine_on_a_small_gpu(flows, **kwargs):
        places.append(flows.device.type)
        if places[-1] == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 300 MiB")
        return flows

    monkeypatch.setattr(canonical_flows_module, "refine", refine_on_a_small_gpu)
    clock = StageClock(lambda fraction, message: said.append(message))
    clock.begin(REFINEMENT)
    image = torch.zeros(1, 1, 32, 32, 32)
    _refined(PretendedFlows(), image, image, RegistrationSettings(), network_on, clock)
    assert places == refined_on
    assert ("The CUDA device ran out of memory or failed; going on on the CPU." in said) == (network_on == "cuda")


def test_the_network_sees_nothing_of_what_one_brain_lacks_and_all_of_two_whole_ones():
    whole = torch.zeros(1, 1, 64, 64, 64)
    whole[..., 8:56, 8:56, 8:56] = 0.5
    cut = whole.clone()
    cut[..., 40:] = 0
    for fixed, moving in ((whole, cut), (cut, whole)):
        seen = canonical_flows_module._without_gaps(fixed=fixed, moving=moving)
        assert torch.equal(*seen)
        assert not seen[0][..., 40:].any()
        assert torch.equal(seen[0][..., :30], whole[..., :30])
    shifted = whole.roll(3, 2)
    assert canonical_flows_module._without_gaps(fixed=whole, moving=shifted) == (whole, shifted)


def test_flows_that_make_scans_of_two_contrasts_less_alike_move_nothing():
    scan = torch.nn.functional.interpolate(torch.rand(1, 1, 12, 12, 12), size=[48] * 3, mode="trilinear")
    away = torch.full((1, 3, 48, 48, 48), 4.0)
    found = CanonicalFlows([away, away * 0, away * 0], away, (), "cpu", "float32")
    settings = RegistrationSettings()
    left = _across_contrasts(found, settings, fixed=scan, moving=1 - scan)
    assert not any(flow.any() for flow in (*left.flows, left.total))
    assert left.steps_left_out
    assert left.warnings == (DIFFERENT_CONTRASTS,)
    kept = _across_contrasts(found, settings, fixed=warp(scan, away), moving=1 - scan)
    assert torch.equal(kept.total, away)
    assert not kept.steps_left_out
    assert kept.warnings == (DIFFERENT_CONTRASTS,)


@pytest.mark.parametrize("preset", ["accurate", "smooth"])
def test_scans_of_two_contrasts_are_matched_by_the_network_alone_without_more_folds_than_the_preset_allows(
    monkeypatch, preset
):
    """The refinement trusts intensities that one scan was only given: it lowers the overlap of tissues."""
    monkeypatch.setattr(canonical_flows_module, "refine", lambda *_, **__: pytest.fail("the pair was refined"))
    network, card = load_network()
    # A network that sees another brain upside down answers with folds.
    values = sitk.GetArrayFromImage(template()).transpose(2, 1, 0).astype(np.float32) / 255
    fixed = downsample_image(tensor_of(np.ascontiguousarray(values))[None, None], 2)
    moving = fixed.flip(4)
    settings = RegistrationSettings(preset=preset, contrast="different", precision="float32")
    found = canonical_flows(fixed=fixed, moving=moving, network=network, card=card, settings=settings)
    before = (smallest_jacobian(found.total) <= 0).float().mean()
    after = _across_contrasts(found, settings, fixed=fixed, moving=moving)
    assert after.total.any()
    allowed = PRESETS[preset].folds_allowed
    assert before > allowed
    assert (smallest_jacobian(after.total) <= 0).float().mean() <= allowed
