"""Kernels as compiled loops over rows, for float32 on a CPU, where torch takes a dozen small operations for each.

A pass of a dream has some seventy rows, and in torch the arithmetic between two of its products took longer than the
products. Each function equals the `*_reference` of its kernel's file up to rounding; a row gets the same bits whatever
is beside it. So `fastmath` is not used: with it, the compiler chooses the order of sums by the layout.
"""

import math

import numpy as np
import torch

from ..world.compiled import njit
from .gumbel import FIRST_FACTOR, GOLDEN, LARGEST_BELOW_ONE, SECOND_FACTOR

_LN2 = math.log(2)
_LANES = 16  # sums that are carried side by side, as many as a register holds


def fits(*tensors: torch.Tensor | None) -> bool:
    """Whether these can be looped over: float32 on a CPU, in service. Not in training, because a tensor that numpy has
    looked at cannot be resized any more, and weights in shards are resized, also between two steps."""
    if torch.compiler.is_compiling():  # which only training is
        return False
    given = (tensor for tensor in tensors if tensor is not None)
    return torch.is_inference_mode_enabled() and all(
        tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in given
    )


def rms_norm_loops(x, weight, *, eps, residual=None):
    """`rms_norm`: y, and beside it the sum where there is a residual."""
    out = x.new_empty(x.shape)
    if residual is None:
        norm_rows(_rows(x), _array(weight), eps, _rows(out))
        return out
    total = x.new_empty(x.shape)
    add_norm_rows(_rows(x), _rows(residual), _array(weight), eps, _rows(out), _rows(total))
    return out, total


@njit(cache=True, nogil=True)
def _scale_of(x, eps, lanes):
    """1 / sqrt(mean(x^2) + eps) of x (C,); lanes (_LANES,) float32 is room to sum in."""
    C = len(x)
    lanes[:] = 0
    for start in range(0, C - _LANES + 1, _LANES):
        for k in range(_LANES):
            lanes[k] += x[start + k] * x[start + k]
    for c in range(C - C % _LANES, C):
        lanes[c % _LANES] += x[c] * x[c]
    width = _LANES
    while width > 1:
        width //= 2
        for k in range(width):
            lanes[k] += lanes[width + k]
    return np.float32(1 / math.sqrt(lanes[0] / C + eps))


@njit(cache=True, nogil=True)
def norm_rows(x, weight, eps, out):
    """RMSNorm of x (R, C) into out."""
    R, C = x.shape
    lanes = np.empty(_LANES, np.float32)
    for r in range(R):
        scale = _scale_of(x[r], eps, lanes)
        for c in range(C):
            out[r, c] = x[r, c] * scale * weight[c]


@njit(cache=True, nogil=True)
def add_norm_rows(x, residual, weight, eps, out, total):
    """x + residual (R, C) into total, which may be the residual, and its RMSNorm into out."""
    R, C = x.shape
    lanes = np.empty(_LANES, np.float32)
    for r in range(R):
        for c in range(C):
            total[r, c] = x[r, c] + residual[r, c]
        scale = _scale_of(total[r], eps, lanes)
        for c in range(C):
            out[r, c] = total[r, c] * scale * weight[c]


def norm_rope_loops(q, k, q_weight, k_weight, cos, sin, *, eps):
    """q (B, N, H, D) and k (B, N, Hkv, D), normed and rotated. They may be parts of one product, side by side."""
    (B, N, H, D), Hkv = q.shape, k.shape[2]
    new_q, new_k = q.new_empty(B, N, H, D), k.new_empty(B, N, Hkv, D)
    angles = [_array(x.expand(B, N, D)).reshape(-1, D) for x in (cos, sin)]
    for x, new, weight in zip((q, k), (new_q, new_k), (q_weight, k_weight), strict=True):
        row = x.flatten(0, 1).flatten(1)  # part of a wider product, so its rows may have the stride of the whole
        row = (row.detach() if row.requires_grad else row).numpy()
        norm_rope_rows(row, _array(weight.expand(x.shape[2], D)), *angles, eps, _rows(new.flatten(2)))
    return new_q, new_k


@njit(cache=True, nogil=True)
def norm_rope_rows(heads, weights, cos, sin, eps, out):
    """RMSNorm and rotation of the first H heads that lie side by side in heads (R, at least H * D), into out, which may
    be the same; weights (H, D), cos and sin (R, D). Columns beyond them stay as they are."""
    (R, D), H = cos.shape, len(weights)
    half = D // 2
    x, lanes = np.empty(D, np.float32), np.empty(_LANES, np.float32)
    for r in range(R):
        for h in range(H):
            for d in range(D):
                x[d] = heads[r, h * D + d]
            scale = _scale_of(x, eps, lanes)
            for d in range(D):
                x[d] *= scale * weights[h, d]
            for d in range(half):
                out[r, h * D + d] = x[d] * cos[r, d] - x[half + d] * sin[r, d]
                out[r, h * D + half + d] = x[half + d] * cos[r, half + d] + x[d] * sin[r, half + d]


def draw_loops(logits, keys, temperatures):
    """The codes (R,) int64 with the largest logits (R, V) + temperatures (R,) * Gumbel noise of keys (R,) int32."""
    tokens = torch.empty(len(logits), dtype=torch.int64)
    _draw(_array(logits), _array(keys), _array(temperatures), _array(tokens))
    return tokens


@njit(cache=True, nogil=True)
def _draw(logits, keys, temperatures, tokens):
    R, V = logits.shape
    w = np.empty(V, np.float32)
    bits = w.view(np.int32)
    for r in range(R):
        key, heat = np.uint32(keys[r]), temperatures[r]
        for c in range(V):  # w of gumbel.py; without the casts, sums of 32-bit integers would have 64 bits
            x = np.uint32(key ^ np.uint32(np.uint32(c) * np.uint32(GOLDEN)))
            x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(16))) * np.uint32(FIRST_FACTOR))
            x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(15))) * np.uint32(SECOND_FACTOR))
            x = np.uint32(np.uint32(x ^ np.uint32(x >> np.uint32(16))) & np.uint32(0x7FFFFFFF))
            share = np.float32(np.int32(x)) * np.float32(2.0**-31) + np.float32(2.0**-32)
            w[c] = share if share < np.float32(LARGEST_BELOW_ONE) else np.float32(LARGEST_BELOW_ONE)
        best, token = np.float32(-np.inf), 0
        for c in range(V):
            # Noise is at most -log w, which is at most log 2 for each halving from 1 down to w. For most codes this
            # bound shows that they cannot win, and no logarithm is needed.
            most = np.float32((127 - (bits[c] >> 23)) * _LN2)
            if logits[r, c] + heat * most >= best:
                score = logits[r, c] - heat * np.float32(math.log(-math.log1p(-w[c])))
                if score > best:
                    best, token = score, c
        tokens[r] = token


def _array(tensor: torch.Tensor) -> np.ndarray:
    """The array that compiled code gets: contiguous, because code is compiled anew for every layout."""
    plain = tensor.detach() if tensor.requires_grad else tensor
    return plain.numpy() if plain.is_contiguous() else plain.contiguous().numpy()


def _rows(tensor: torch.Tensor) -> np.ndarray:
    return _array(tensor).reshape(-1, tensor.shape[-1])
