"""ULAE-net computed fast: the function of `ulaenet.py`, in half the time and a third of the memory on two CPU cores.

One page for the reader: each trick, where it is, what the whole network takes more of the processor's time without it,
and what it costs. `python Testing/benchmarks/inference.py --tricks` switches each off in turn (float32, one thread,
AVX2, freed memory kept as `ulae` keeps it). What gains less than 5 % is not here.

The fixed image once (`FastULAENet.prepare`): + 16 % without it.
    The fixed image's path, and the fixed half of all it is mixed with, are the same in all three steps. Costs a class
    for what is kept.
Branches fused (`FastULAENet._fuse`): part of the plain network's + 73 %.
    The uncoupled block is linear up to one leaky ReLU, so that mixing its branches is one convolution for each
    dilation: the mean branch becomes a constant per channel, and 1x1x1 branches and centre taps merge into the 3x3x3
    kernel. Costs care with the taps that meet.
Convolving before upsampling (`upsampling.convolved_finer`): + 8 to 11 %.
    Interpolating between planes and convolving within them can change places, and there are half as many coarse
    planes. Costs the hardest page of this folder.
Slabs (`slabs.py`): + 9 %, and two thirds of the memory.
    Features are normalised, upsampled and concatenated a few planes at a time, inside the convolution that reads them,
    so that what is in work stays in the cache. Costs statistics that are combined from parts.
Operators that torch does not document (`convolution.convolve`, `slabs.statistics`): + 41 % and + 25 %.
    oneDNN's convolution by name, and batch normalisation's statistics. Where one is missing, the plain way is taken.
Half precision (`devices.choose_precision`), where the hardware has it: half the time.
    Flows, coordinates and statistics stay float32; flows differ by some thousandths of a voxel.

The order of operations differs from the plain network's, nothing else: float32 flows agree to 0.0001 voxel.
"""
