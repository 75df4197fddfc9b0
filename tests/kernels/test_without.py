"""A dream needs no Triton, no second core and no products in half precision."""

import os
import subprocess
import sys

import pytest

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
