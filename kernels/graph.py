"""A step captured as a CUDA graph, so that replaying it costs the host one launch.

    first call of a (kind, shapes): copy the inputs to buffers of its own, warm up on a side stream, capture
    every later call: copy the inputs into those buffers, replay
    on a CPU: a plain call

A graph replays addresses: what the step closes over (weights, pages) must stay where it is.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch

# A first run may compile kernels, choose algorithms and fill the library's work spaces; none of that can be captured.
_WARM_UPS = 2


@dataclass(frozen=True)
class _Capture:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[torch.Tensor, ...]
    outputs: Any


class CapturedStep:
    """step(kind, *tensors), captured once for each kind and each set of shapes.

    kind is whatever in Python decides what the step launches (causal or not, temperature, which denoising step): it is
    frozen into the graph. All numbers that change from call to call must come in as tensors. Outputs lie in memory that
    the graphs share: use or copy them before the next call of any kind.
    """

    def __init__(self, step: Callable[..., Any]):
        self._step = step
        self._captures: dict[tuple, _Capture] = {}
        self._pool: tuple | None = None  # one memory pool for all graphs, which never run at the same time

    def __call__(self, kind: Hashable, *inputs: torch.Tensor) -> Any:
        if not inputs or inputs[0].device.type != "cuda":
            return self._step(kind, *inputs)
        key = (kind, *((x.shape, x.dtype, x.device) for x in inputs))
        if key not in self._captures:
            self._captures[key] = self._capture(kind, inputs)
        capture = self._captures[key]
        for buffer, x in zip(capture.inputs, inputs, strict=True):
            buffer.copy_(x)
        capture.graph.replay()
        return capture.outputs

    def __len__(self) -> int:
        """How many graphs have been captured."""
        return len(self._captures)

    def _capture(self, kind: Hashable, inputs: tuple[torch.Tensor, ...]) -> _Capture:
        buffers = tuple(x.clone() for x in inputs)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._step(kind, *buffers)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = self._step(kind, *buffers)
        self._pool = self._pool or graph.pool()
        return _Capture(graph, buffers, outputs)
