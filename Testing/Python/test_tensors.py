"""numpy and torch exchange values without torch's own bridge, which torch 2.2 lacks beside numpy 2."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ULAERegistrationLib.tensors import array_of, array_sharing, tensor_of, tensor_sharing

LIBRARY = Path(__file__).parents[2] / "ULAERegistrationLib"
TYPES = ["float32", "float64", "uint8", "int16", "int32", "int64", "bool"]


@pytest.mark.parametrize("kind", TYPES)
def test_values_shapes_and_types_survive_both_ways(kind):
    array = (np.arange(60).reshape(3, 4, 5) % 7 * 17).astype(kind)
    tensor = tensor_of(array)
    assert torch.equal(tensor, torch.from_numpy(array))
    back = array_of(tensor)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_layouts_that_are_not_contiguous_are_read_as_they_mean():
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    np.testing.assert_array_equal(array_of(tensor_of(array)), array)
    tensor = torch.arange(24.0).view(2, 3, 4).permute(2, 0, 1).requires_grad_()
    np.testing.assert_array_equal(array_of(tensor), tensor.detach().numpy())
    assert array_of(tensor_of(np.zeros((0, 3), np.float32))).shape == (0, 3)


def test_nothing_is_shared():
    array = np.zeros(4, np.float32)
    tensor = tensor_of(array)
    tensor += 1
    assert not array.any()
    back = array_of(tensor)
    back += 1
    assert tensor.tolist() == [1, 1, 1, 1]


def test_types_without_a_counterpart_are_refused():
    with pytest.raises(TypeError, match="uint16"):
        tensor_of(np.zeros(3, np.uint16))
    with pytest.raises(TypeError, match="bfloat16"):
        array_of(torch.zeros(3, dtype=torch.bfloat16))


def test_no_other_bridge_is_in_the_library():
    other = re.compile(r"torch\.from_numpy|torch\.as_tensor|\)\.numpy\(\)|\w\.numpy\(\)|np\.(as)?array\(\w*tensor")
    found = [
        f"{path.relative_to(LIBRARY)}: {line.strip()}"
        for path in LIBRARY.rglob("*.py")
        if path.name != "tensors.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if other.search(line)
    ]
    assert found == []


WITHOUT_BRIDGE = """
import numpy as np, torch

def unavailable(*_, **__):
    raise RuntimeError("Numpy is not available")

torch.from_numpy = torch.Tensor.numpy = torch.Tensor.__array__ = unavailable
real = torch.as_tensor
torch.as_tensor = lambda x, **how: unavailable() if isinstance(x, np.ndarray) else real(x, **how)

from ULAERegistrationLib.network.weights import load_network
from ULAERegistrationLib.output.canonical_view import CanonicalView
from ULAERegistrationLib.quality_measures import measure
from ULAERegistrationLib.canonical_flows import canonical_flows
from ULAERegistrationLib.settings import RegistrationSettings
from ULAERegistrationLib.flows.warp import compose_all
from ULAERegistrationLib.tensors import array_of, array_sharing, tensor_of, tensor_sharing

random = np.random.default_rng(0)
fixed, moving = (np.kron(random.random((8, 8, 8)), np.ones((8, 8, 8))).astype(np.float32) for _ in range(2))
network, card = load_network()
found = canonical_flows(
    fixed=tensor_of(fixed)[None, None],
    moving=tensor_of(moving)[None, None],
    network=network,
    card=card,
    settings=RegistrationSettings(preset="accurate", refinement_iterations=4, device="cpu", precision="float32"),
)
steps = [array_of(flow[0]) for flow in found.flows]
totals = [array_of(compose_all(found.flows[:count])[0]) for count in (1, 2, 3)]
print(measure(fixed, moving, totals[-1], fixed > 0).verdict)
view = CanonicalView(fixed=fixed, moving=moving, brain=fixed > 0, steps=steps, totals=totals)
print(len(view.views(view.planes[0])))
"""


def test_a_registration_needs_no_bridge_of_torchs():
    done = subprocess.run([sys.executable, "-c", WITHOUT_BRIDGE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "4"


def test_a_flow_is_shared_with_numpy_and_back_without_torchs_own_bridge():
    """What one writes the other reads, and the memory stays as long as either is there."""
    tensor = torch.zeros(3, 4, 5, 6, requires_grad=True)
    array = array_sharing(tensor)
    array[1, 2] = 7
    assert tensor[1, 2].eq(7).all()
    del tensor
    back = tensor_sharing(array)
    back[0] = 2
    del back
    assert (array[0] == 2).all()
    assert (array[1, 2] == 7).all()
