"""A dream needs no Triton, no second core and no products in half precision, and keeps its laws on an older CPU."""

import os
import subprocess
import sys

import pytest
import roam.kernels.device  # noqa: F401, sets MKL_CBWR on an Intel CPU

HIDE_TRITON = """
from importlib.machinery import PathFinder
found = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name == "triton" else found(name, *rest))
"""
ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
WALK = """
import numpy as np, torch
from roam.kernels import backend, graph, linear, nearest, norm, renoise, rope, sample, swiglu
from roam.kernels.device import HAS_TRITON
from roam.world.action import parse_action
from roam.world.engine import Engine
from roam.world.transformer.passes import Serving
for precision in ("bfloat16", "fp8"):
    engine = Engine.from_checkpoint(serving=Serving(precision=precision))
    session = engine.session(np.full((128, 128, 3), 90, np.uint8))
    print(HAS_TRITON, backend("cuda"), torch.get_num_threads(), session.step(parse_action("turn left")).index)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system gives no core away")
@pytest.mark.slow(reason="a process that imports every kernel and walks in each precision")
def test_a_dream_walks_on_one_core_without_triton_in_any_precision():
    done = subprocess.run([sys.executable, "-c", HIDE_TRITON + ONE_CORE + WALK], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "reference", "1", "1"] * 2, done.stderr


ROWS = """
from roam.kernels.linear import linear
import torch
for outputs, inputs in ((320, 192), (192, 576), (4096, 192)):
    x, weight = torch.randn(200, inputs), torch.randn(outputs, inputs)
    whole = linear(x, weight)
    print(*(count for count in range(1, 130) if not torch.equal(linear(x[:count], weight), whole[:count])))
"""


@pytest.mark.skipif("MKL_CBWR" not in os.environ, reason="an Intel CPU alone can be held so")
@pytest.mark.parametrize("instructions", ["AVX512", "AVX2"])
def test_on_intel_a_row_of_a_product_gets_the_same_bits_whatever_is_beside_it(instructions):
    env = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    env |= {"MKL_ENABLE_INSTRUCTIONS": instructions, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", ROWS], capture_output=True, text=True, env=env)
    assert done.stdout.split("\n")[:3] == [""] * 3, done.stdout + done.stderr
