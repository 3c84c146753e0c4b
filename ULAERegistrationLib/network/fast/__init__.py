"""ULAE-net computed fast: the function of `ulaenet.py`, on two CPU cores in half the time and a third of the memory.

One page for the reader. Each trick, where it is, what it gains and what it costs. The gain is what the whole network
takes more of the processor's time without it (float32, one thread, AVX2, memory kept as `ulae` does), measured by
`python Testing/benchmarks/inference.py --tricks`, which switches each off in turn. What gains less than 5 % is not here.

| trick | where | without it | price |
|---|---|---|---|
| the fixed image's path, and the fixed half of all it is mixed with, once for three steps | `FastULAENet.prepare` | see `--tricks` | a class for what is kept |
| the uncoupled block's branches, linear up to one leaky ReLU, fused to a convolution per dilation | `FastULAENet._fuse` | see `--tricks` | the mean branch becomes a constant, taps must be merged by hand |
| upsampled features convolved on the coarse planes and interpolated after: both are linear along the axis between planes | `upsampling.convolved_finer` | + 11 % | the hardest page of this folder |
| a flow head's three kernel planes side by side, because three outputs alone leave vector lanes empty | `convolution.head_flow` | + 9 % | planes are added where they belong |
| a single input channel read as two, its even and odd voxels | `convolution.halving` | + 7 % | two cases of taps |
| everything else a slab of planes at a time, with its normalisation, so that it stays in the cache | `slabs` | see `--tricks` | statistics are combined from parts |
| convolutions and statistics by operators that torch does not document | `convolution.convolve`, `slabs.statistics` | see `--tricks` | guarded: where one is missing, the plain way |
| half precision where the hardware has it | `devices.choose_precision` | twice the time on such processors | flows differ by a few thousandths of a voxel |

The order of operations differs from the plain network's, nothing else: float32 flows agree to 0.0001 voxel.
"""
