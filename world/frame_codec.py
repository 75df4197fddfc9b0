"""Pictures to codes and back, by the networks of one checkpoint: its tokenizer, and the refiner of its depth.

Knows no session and remembers nothing; remembered views are carried in spatial/.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..kernels.graph import CapturedStep
from .pose import Pose
from .spatial.planar.seen import settled
from .spatial.smoothing import smoothed
from .tokens.depth import DepthRefiner
from .tokens.detail import restore_detail
from .tokens.doubt import calmed, doubt
from .tokens.vision import VisionTokenizer


class FrameCodec:
    """detail_tolerance: how far codes may be from those of a carried view for that view's pixels to be shown
    instead; 0 shows what the decoder makes. refiner: None if the decoder's depth is used as it is."""

    def __init__(self, vision: VisionTokenizer, refiner: DepthRefiner | None, *, detail_tolerance: float):
        self.vision, self.refiner, self.detail_tolerance = vision, refiner, detail_tolerance
        self.device, self._codebook = vision.steps.device, vision.codebook
        self._run = CapturedStep(self._network)

    @torch.inference_mode()
    def codes(self, pixels: np.ndarray) -> Tensor:
        """(B, H, W, 3) uint8 -> codes (B, N) int64."""
        return self._run("encode", self._tensor(pixels)).flatten(1)

    @torch.inference_mode()
    def decoded(self, codes: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """One frame's codes (1, N) or (h, w) as pixels (H, W, 3) uint8 and the decoder's own depth (H, W) float32."""
        pixels, depth = self._run("decode", codes.view(1, *self.vision.config.grid))
        # float16 is finer than the decoder's accuracy, and is what a snapshot holds
        return pixels[0].cpu().numpy(), depth[0].half().float().cpu().numpy()

    def refined(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """The decoder's depth (H, W) corrected by the pixels (H, W, 3) that are shown, if there is a refiner."""
        if self.refiner is None:
            return depth
        refined = self._run("refine", self._tensor(pixels)[None], self._tensor(depth)[None])
        return refined[0].half().float().cpu().numpy()

    def taken_in(
        self, pixels: np.ndarray, pose: Pose | None = None, is_photograph: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A true picture (H, W, 3) uint8 as a frame: tokens (h, w) int32, the pixels shown, their depth (H, W) float32.
        pose: where it was taken, if it is of scenes such as training showed, whose surfaces are even; is_photograph:
        whether depth is smoothed where the model is unsure of it (tokens/doubt.py)."""
        # a read-only picture, as recordings have them, is copied: torch warns of it, and numba compiles anew for it
        tokens, shown, depth = self._seen(np.require(pixels, requirements=["C", "W"]))
        _, _, mirrored = self._seen(np.ascontiguousarray(shown[:, ::-1]))
        mirrored = np.ascontiguousarray(mirrored[:, ::-1])
        # the mean of the picture's and its mirror image's depth is nearer the truth than either
        mean = smoothed(np.sqrt(depth * mirrored), shown)
        if is_photograph:
            mean = calmed(mean, doubt(depth, mirrored))
        if pose is not None:
            mean = settled(pose, shown, mean)
        return tokens, shown, mean.astype(np.float16).astype(np.float32)

    def grid(self, codes: Tensor) -> np.ndarray:
        """One frame's codes (N,) as its token grid (h, w) int32."""
        return codes.view(self.vision.config.grid).cpu().numpy().astype(np.int32)

    def with_detail(
        self, pixels: np.ndarray, codes: Tensor, carried: np.ndarray, covered: np.ndarray, carried_codes: Tensor
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decoded pixels (H, W, 3), replaced by those of a carried view where the codes (N,) still agree with it;
        and where that is, (H, W) bool. covered (H, W) bool: where the view is known; carried_codes (N,): its codes."""
        codebook = self._codebook
        distance = (codebook[codes] - codebook[carried_codes]).square().sum(-1)
        return restore_detail(
            pixels,
            carried,
            covered,
            distance.view(self.vision.config.grid).cpu().numpy(),
            tolerance=self.detail_tolerance,
        )

    def _seen(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        codes = self.codes(pixels[None])
        decoded, depth = self.decoded(codes)
        shown = pixels if self.detail_tolerance else decoded
        # each view by itself: errors of separate views cancel, those that are carried on add up
        return self.grid(codes[0]), shown, self.refined(shown, depth)

    def _network(self, kind: str, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if kind == "encode":
            return self.vision.encode(*inputs)
        if kind == "decode":
            return self.vision.decode(*inputs)
        assert self.refiner is not None, "as `refined` has it"
        return self.refiner.refine(*inputs)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)
