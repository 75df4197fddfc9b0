"""Gumbel noise as a function of (seed, stream, position, code): nothing is stored, and every backend draws the same.

    key  = mix(mix(mix(low(seed) ^ stream) ^ high(seed)) ^ position)   one a row; mix is a bijection of 32 bits
    w    = (31 bits of mix(key ^ code * golden) + 1/2) / 2^31          one a code, bit for bit the same everywhere
    g    = -log(-log(1 - w)), so that argmax(logits + g) is a draw from softmax(logits)

1 - w and not w stands in the logarithm because draws are won near w = 0, where floats are fine enough to tell codes
apart even among 131072 equal ones. The logarithms may differ in their last bits between a CPU and a GPU.
"""

import torch

from .device import tl, triton

# What the noise is for; two uses with one seed must not share their draws.
SAMPLE_STREAM = 0x0001
RENOISE_STREAM = 0x0002
JUMP_STREAM = 0x0003
LANDING_STREAM = 0x0004

GOLDEN = 0x9E3779B1
FIRST_FACTOR = (
    0x7FEB352D  # with 0x846CA68B and shifts 16, 15, 16: the 32-bit mixer with the least bias in Ellis's search
)
SECOND_FACTOR = 0x846CA68B
LARGEST_BELOW_ONE = 1 - 2.0**-24


def row_keys_reference(seed, positions, stream):
    """Hash seed (int or (B,) int64), positions (B, N) int64 and the stream's number into keys (B, N) int32."""
    B, N = positions.shape
    seed = torch.as_tensor(seed, dtype=torch.int64, device=positions.device).reshape(-1, 1)
    key = _mix_(seed.to(torch.int32) ^ stream)
    key = _mix_(key ^ (seed >> 32).to(torch.int32))
    return _mix_(key ^ positions.to(torch.int32)).expand(B, N)


def uniform_reference(keys, codes):
    """w in (0, 1) for keys (R,) int32 and codes (V,) int32: (R, V) float32."""
    bits = _mix_(keys[:, None] ^ (codes * _signed(GOLDEN)))
    return bits.bitwise_and_(0x7FFFFFFF).float().mul_(2.0**-31).add_(2.0**-32).clamp_(max=LARGEST_BELOW_ONE)


def gumbel_reference(keys, codes):
    """Gumbel noise for keys (R,) int32 and codes (V,) int32: (R, V) float32."""
    return uniform_reference(keys, codes).neg_().log1p_().neg_().log_().neg_()


def _mix_(x):
    x ^= (x >> 16) & 0xFFFF
    x *= FIRST_FACTOR
    x ^= (x >> 15) & 0x1FFFF
    x *= _signed(SECOND_FACTOR)
    x ^= (x >> 16) & 0xFFFF
    return x


def _signed(bits):
    return bits - (1 << 32) if bits >> 31 else bits


def seeds_and_positions(seed, positions, B, N, device):
    """Bring both to int64 tensors: seed (B,), from one for all or one each; positions (B, N), default 0 .. N-1."""
    if isinstance(seed, int):
        seed = torch.full((B,), seed, dtype=torch.int64, device=device)
    if seed.shape != (B,) or seed.dtype != torch.int64:
        raise ValueError(f"seed {tuple(seed.shape)} {seed.dtype}; wanted an int or ({B},) torch.int64")
    if positions is None:
        positions = torch.arange(N, device=device)
    if positions.shape not in ((N,), (B, N)):
        raise ValueError(f"positions {tuple(positions.shape)}; wanted ({N},) or ({B}, {N})")
    return seed, positions.expand(B, N)


@triton.jit
def _mix(x):
    x ^= x >> 16
    x *= 0x7FEB352D
    x ^= x >> 15
    x *= 0x846CA68B
    x ^= x >> 16
    return x


@triton.jit
def row_keys(seeds, positions, STREAM: tl.constexpr):
    """`row_keys_reference` for int64 tiles of seeds and positions: uint32 keys of their shape."""
    key = _mix(seeds.to(tl.uint32) ^ STREAM)
    key = _mix(key ^ (seeds >> 32).to(tl.uint32))
    return _mix(key ^ positions.to(tl.uint32))


@triton.jit
def gumbel(keys, codes):
    """`gumbel_reference` for uint32 keys and int32 codes of shapes that broadcast: float32."""
    bits = _mix(keys ^ (codes.to(tl.uint32) * 0x9E3779B1))
    w = (bits & 0x7FFFFFFF).to(tl.int32).to(tl.float32) * (2.0**-31) + 2.0**-32
    w = tl.minimum(w, 1.0 - 2.0**-24)
    # -log(1 - w) by its series near 0, where the hardware's logarithm of a number near 1 has no correct digits
    series = w * (1.0 + w * (0.5 + w * (1.0 / 3.0 + w * 0.25)))
    return -tl.log(tl.where(w < 0.03125, series, -tl.log(1.0 - w)))
