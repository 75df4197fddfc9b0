"""A step captured as a CUDA graph, so that replaying it costs the host one launch.

    first call of a (kind, shapes): copy the inputs to buffers of its own, warm up on a side stream, capture
    every later call: copy the inputs into those buffers, replay, copy the outputs
    on a CPU: a plain call

A graph replays addresses: what the step closes over (weights, pages) must stay where it is, or be forgotten with
`CapturedStep.forget`. Capturing runs the step several times: it must not matter how often it runs on the same inputs.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch

# A first run may compile kernels, choose algorithms and fill the library's work spaces; none of that can be captured.
_WARM_UPS = 2

Step = Callable[..., Any]


@dataclass(frozen=True)
class _Capture:
    replay: Callable[[], None]
    inputs: tuple[torch.Tensor, ...]
    outputs: Any


class CapturedStep:
    """step(kind, *tensors), captured once for each kind and each set of shapes.

    kind is whatever in Python decides what the step launches (causal or not, temperature, which denoising step): it is
    frozen into the graph. All numbers that change from call to call must come in as tensors. The step returns a tensor
    or a tuple of tensors; callers get copies of their own. capture(step, kind, buffers) -> (replay, outputs) takes the
    place of CUDA's where it is given, on any device: tests look through it at what a graph would replay.
    """

    def __init__(self, step: Step, *, capture: Callable[..., tuple[Callable[[], None], Any]] | None = None):
        self._step, self._capture = step, capture
        self._captures: dict[tuple, _Capture] = {}
        self._graphs, self._is_plain = _CudaGraphs(), False

    def __call__(self, kind: Hashable, *inputs: torch.Tensor) -> Any:
        capture = self._capture
        if self._is_plain:
            return self._step(kind, *inputs)
        if capture is None:
            if not inputs or inputs[0].device.type != "cuda":
                return self._step(kind, *inputs)
            capture = self._graphs.capture
        key = (kind, *((x.shape, x.dtype, x.device) for x in inputs))
        if key not in self._captures:
            buffers = tuple(x.clone() for x in inputs)
            replay, outputs = capture(self._step, kind, buffers)
            self._captures[key] = _Capture(replay, buffers, outputs)
        found = self._captures[key]
        for buffer, x in zip(found.inputs, inputs, strict=True):
            buffer.copy_(x)
        found.replay()
        return _copied(found.outputs)

    def __len__(self) -> int:
        """How many graphs have been captured."""
        return len(self._captures)

    def run_plainly(self) -> None:
        """Capture nothing from here on: hooks within the step are called, which a replay would pass over."""
        self._is_plain = True

    def forget(self) -> None:
        """Drop all graphs: what they closed over has moved."""
        self._captures.clear()
        self._graphs = _CudaGraphs()


class _CudaGraphs:
    """Captures on CUDA into one memory pool for all graphs, which never run at the same time."""

    def __init__(self):
        self._pool: Any = None  # of the graphs captured so far, which share it

    def capture(self, step: Step, kind: Hashable, buffers: tuple[torch.Tensor, ...]) -> tuple[Callable[[], None], Any]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                step(kind, *buffers)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # other threads (a viewer, a server) may use the device meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = step(kind, *buffers)
        self._pool = self._pool or graph.pool()
        return graph.replay, outputs


def _copied(outputs: Any) -> Any:
    return tuple(x.clone() for x in outputs) if isinstance(outputs, tuple) else outputs.clone()
