"""What refinement gains on the validation pairs: Dice against steps and seconds, and a table of the presets.

    python Testing/benchmarks/refinement.py table [--model FILE] [--pairs nirep oasis]
    python Testing/benchmarks/refinement.py curve [--model FILE] [--picture docs/images/refinement.png]

Each pair starts from the affine alone (flows of zero) and from the network. Seconds are the refinement's own: on the
clock, which means something on an idle machine, and of the processor, which with --threads 1 hold on a busy one too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from data_folder import DATA
from torch import Tensor

from ULAERegistrationLib.dataset.regions import mean_dice
from ULAERegistrationLib.dataset.sources import VALIDATION_PEOPLE, source_of
from ULAERegistrationLib.evaluation.people import image_file, label_file, ordered_pairs, read_image
from ULAERegistrationLib.flows.composed import ComposedFlows
from ULAERegistrationLib.flows.jacobian import jacobian, smallest_jacobian
from ULAERegistrationLib.flows.refinement import ITERATIONS, refine
from ULAERegistrationLib.flows.warp import downsample_image, upsample_flow, warp
from ULAERegistrationLib.network.predict import predict_flows
from ULAERegistrationLib.network.weights import load_network
from ULAERegistrationLib.settings import RegistrationSettings

ROOT = Path(__file__).parents[2]
BRAINS = DATA / "brains"
SOURCES = ("nirep", "oasis")
SHARES = (0, 0.1, 0.3, 1)


class Pair:
    """A validation pair, fixed <- moving, with its labels."""

    def __init__(self, fixed: str, moving: str) -> None:
        self.name, self.source = f"{fixed} <- {moving}", source_of(fixed)
        self.fixed, self.moving = (read(image_file, person) / 255 for person in (fixed, moving))
        self.fixed_labels, self.moving_labels = (read(label_file, person) for person in (fixed, moving))

    def dice(self, flow: Tensor) -> float:
        """Mean over the cortical labels."""
        warped = warp(self.moving_labels, flow, mode="nearest")
        return mean_dice(warped.byte().numpy(), self.fixed_labels.byte().numpy(), self.source)


def read(kind: Callable[[Path, str], Path], person: str) -> Tensor:
    return torch.from_numpy(read_image(kind(BRAINS, person)))[None, None].float()


def ordered(source: str) -> list[tuple[str, str]]:
    return [pair for pair in ordered_pairs(VALIDATION_PEOPLE) if source_of(pair[0]) == source]


def starts(pair: Pair, model: str | None) -> dict[str, ComposedFlows]:
    """The flows refinement starts from: none, and the network's."""
    network, card = load_network(model)
    fixed, moving = (downsample_image(image, card.voxel_mm) for image in (pair.fixed, pair.moving))
    prediction = predict_flows(network, fixed=fixed, moving=moving, device="cpu")
    size = pair.fixed.shape[2:]
    found = ComposedFlows.of([upsample_flow(flow, card.voxel_mm, size) for flow in prediction.flows])
    return {"affine": found.zeros(), "network": found}


def refined(pair: Pair, flows: ComposedFlows, **settings) -> tuple[Tensor, float, float]:
    """The whole flow after refinement, and its seconds by the clock and by the processor."""
    began, began_processor = time.perf_counter(), time.process_time()
    result = refine(flows, fixed=pair.fixed, moving=pair.moving, settings=RegistrationSettings(**settings))
    seconds, processor = time.perf_counter() - began, time.process_time() - began_processor
    return result.total, seconds, processor


def table(options: argparse.Namespace) -> None:
    print("| pair | start | preset | Dice | folded at any corner, % | by central differences, % | seconds | CPU s |")
    print("|" + "---|" * 8)
    for source in options.pairs:
        for people in ordered(source):
            pair = Pair(*people)
            for start, flows in starts(pair, options.model).items():
                for preset in ("fast", "accurate", "smooth"):
                    flow, seconds, processor = refined(pair, flows, preset=preset)
                    folds = (smallest_jacobian(flow) <= 0, jacobian(flow) <= 0)
                    share, central = (100 * float(where.float().mean()) for where in folds)
                    print(
                        f"| {pair.name} | {start} | {preset} | {pair.dice(flow):.4f} | {share:.4f} | "
                        f"{central:.4f} | {seconds:.1f} | {processor:.1f} |",
                        flush=True,
                    )


def curve(options: argparse.Namespace) -> None:
    """Each point is a run of its own with that many steps, spread over the levels as the preset spreads its own."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    print("| pair | start | steps | Dice | seconds | CPU s |\n|" + "---|" * 6)
    for source, colour in zip(options.pairs, ("tab:blue", "tab:orange"), strict=False):
        pair = Pair(*ordered(source)[0])
        for (start, flows), line in zip(starts(pair, options.model).items(), ("--", "-"), strict=True):
            rows = []
            for share in SHARES:
                steps = round(share * ITERATIONS)
                flow, seconds, processor = refined(pair, flows, refinement_iterations=steps)
                rows.append((steps, processor, pair.dice(flow)))
                print(
                    f"| {pair.name} | {start} | {steps} | {rows[-1][2]:.4f} | {seconds:.1f} | {processor:.1f} |",
                    flush=True,
                )
            for axis, column in zip(axes, (0, 1), strict=True):
                axis.plot(
                    [row[column] for row in rows],
                    [row[2] for row in rows],
                    line,
                    marker="o",
                    color=colour,
                    label=f"{pair.name}, from the {start}",
                )
    axes[0].set(xlabel="refinement steps, all levels", ylabel="mean Dice, cortical labels")
    axes[0].axvline(ITERATIONS, color="0.7", zorder=0, label="the preset's own number")
    axes[0].legend(handles=axes[0].lines[-1:], fontsize=8, loc="lower right")
    axes[1].set(xlabel="CPU seconds of refinement (all threads together)")
    axes[1].legend(fontsize=8, loc="lower right")
    for axis in axes:
        axis.grid(alpha=0.3)
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("table", "curve"))
    parser.add_argument("--model", help="weights (.safetensors); default: the shipped ones")
    parser.add_argument("--pairs", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "images" / "refinement.png")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    {"table": table, "curve": curve}[options.what](options)


if __name__ == "__main__":
    main()
