"""ULAE-net computed fast: the function of `ulaenet.py`, on two CPU cores in three fifths of the time in float32 and a
third in bfloat16, in two fifths of the memory or less.

This page lists each optimisation with the place of its code, the processor time that the whole network takes more
without it, and its cost. `python Testing/benchmarks/inference.py --tricks` switches each off in turn (float32, one
thread, AVX2, freed memory kept as `ulae` keeps it). Optimisations that gain less than 5 % were left out.

The fixed image once (`FastULAENet.prepare`): + 16 % without it.
    The fixed image's path, and the fixed half of every layer that reads it, are the same in all three steps. This costs
    a class for the stored features.
Branches fused (`FastULAENet._fuse`): part of the plain network's + 73 %.
    The uncoupled block is linear up to one leaky ReLU, so that mixing its branches is one convolution for each
    dilation: the mean branch becomes a constant per channel, and 1x1x1 branches and centre taps are added to the 3x3x3
    kernel. The cost is that coinciding taps have to be summed with care.
Convolving before upsampling (`upsampling.convolved_finer`): + 8 to 11 %.
    Interpolation between planes and convolution within planes commute, and there are half as many coarse planes. This
    costs the most difficult code of this package.
Slabs (`slabs.py`): + 9 %, and two thirds of the memory.
    Features are normalised, upsampled and concatenated a few planes at a time, inside the convolution that reads them,
    so that intermediate results stay in the cache. The cost is that statistics have to be combined from parts.
Operators that torch does not document (`convolution.convolve`, `slabs.statistics`): + 41 % and + 25 %.
    These are oneDNN's convolution and the statistics of batch normalisation. Where one is missing, a documented
    operator is used.
Half precision (`devices.choose_precision`), where the hardware has it: half the time.
    Flows, coordinates and statistics stay float32; the flows differ by some thousandths of a voxel.
The first level in float32 all the same (`convolution.convolve`): + 35 % without it in bfloat16 (a Xeon with AMX).
    On an image's one channel, oneDNN's dilated convolutions in bfloat16 are the slow ones.

In float32 only the order of operations differs from the plain network's: the flows agree to 0.0001 voxel.
"""
