"""Dense layers: bf16 by the vendor's library, and fp8 (e4m3) with a scale for each row and each output channel.

s_i = max_k |x_ik| / 448,  x8 = round_e4m3(x / s);  r_o and w8 the same for the weight's rows, once at load
y_io = s_i * r_o * sum_k x8_ik w8_ok
the sum in float32 by the tensor cores (torch._scaled_mm) on CUDA, by dequantised float32 elsewhere
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .device import backend, block_of, tl, triton

FP8 = torch.float8_e4m3fn
FP8_LARGEST = 448.0
# Keeps a row of zeros from dividing by zero; its scale is far below any that bf16 activations have.
_SMALLEST_PEAK = 1e-12


def linear(x: torch.Tensor, weight: "torch.Tensor | Callable[[torch.Tensor], torch.Tensor]") -> torch.Tensor:
    """x (..., I) times weight (O, I) transposed: (..., O) in x's dtype. A weight that is a tensor has the same dtype;
    an Fp8Linear or a PackedLinear is called."""
    return F.linear(x, weight) if isinstance(weight, torch.Tensor) else weight(x)


def row_scales(x: torch.Tensor) -> torch.Tensor:
    """The scales (...) float32 that bring the peak of every row of x (..., C) to the largest number of fp8."""
    return x.float().abs().amax(-1).clamp_(min=_SMALLEST_PEAK) / FP8_LARGEST


def quantise_rows_reference(x, scale=None):
    """`quantise_rows` in plain torch; scale: of the rows, if it is not to be their own."""
    scale = row_scales(x) if scale is None else scale
    return (x.float() / scale[..., None]).clamp_(-FP8_LARGEST, FP8_LARGEST).to(FP8), scale


@triton.jit
def _quantise_rows_kernel(
    x_ptr, out_ptr, scale_ptr, C, row_stride, SMALLEST: tl.constexpr, LARGEST: tl.constexpr, BLOCK_C: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK_C)
    peak = tl.zeros((BLOCK_C,), tl.float32)
    for start in range(0, C, BLOCK_C):
        x = tl.load(x_ptr + row * row_stride + start + columns, mask=start + columns < C, other=0.0).to(tl.float32)
        peak = tl.maximum(peak, tl.abs(x))
    scale = tl.maximum(tl.max(peak, 0), SMALLEST) / LARGEST
    tl.store(scale_ptr + row, scale)
    for start in range(0, C, BLOCK_C):  # the row comes from cache the second time
        here = start + columns < C
        x = tl.load(x_ptr + row * row_stride + start + columns, mask=here, other=0.0).to(tl.float32)
        x = tl.minimum(tl.maximum(x / scale, -LARGEST), LARGEST)
        tl.store(out_ptr + row * C + start + columns, x.to(out_ptr.dtype.element_ty), mask=here)


def quantise_rows_triton(x):
    """`quantise_rows` as one kernel, with one program for each row."""
    C = x.shape[-1]
    rows = x.reshape(-1, C)
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    out = torch.empty(x.shape, dtype=FP8, device=x.device)
    scale = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device)
    if x.numel():
        _quantise_rows_kernel[(len(rows),)](
            rows,
            out,
            scale,
            C,
            rows.stride(0),
            SMALLEST=_SMALLEST_PEAK,
            LARGEST=FP8_LARGEST,
            BLOCK_C=block_of(C, largest=4096),
            num_warps=8 if C > 2048 else 4,
        )
    return out, scale


def quantise_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise every row of x (..., C) to its own peak: (..., C) float8_e4m3fn and scales (...) float32."""
    converts = backend(x.device) == "triton" and torch.cuda.get_device_capability(x.device) >= (8, 9)
    return quantise_rows_triton(x) if converts else quantise_rows_reference(x)


def has_fp8_products(device: torch.device | str) -> bool:
    """Whether the device multiplies fp8 with a scale a row itself (Hopper and later); elsewhere it is emulated."""
    device = torch.device(device)
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


@dataclass(frozen=True)
class Fp8Linear:
    """A dense layer quantised once at load: weight (O, I) float8_e4m3fn, weight_scale (O,) float32."""

    weight: torch.Tensor
    weight_scale: torch.Tensor

    @classmethod
    def from_weight(cls, weight: torch.Tensor) -> "Fp8Linear":
        """Quantise weight (O, I) a row at a time; both sizes must be multiples of 16, as fp8 tensor cores want them."""
        O, I = weight.shape
        if O % 16 or I % 16:
            raise ValueError(f"Fp8Linear: weight ({O}, {I}); wanted multiples of 16: keep this layer in bf16")
        return cls(*quantise_rows(weight.detach()))

    def __call__(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        """x (..., I) times the weight transposed: (..., O) in x's dtype. scale (...): by which rows are rounded, if
        they are parts of longer ones, whose peaks are known."""
        O, I = self.weight.shape
        rows = x.reshape(-1, I)
        rows, scale = quantise_rows(rows) if scale is None else quantise_rows_reference(rows, scale.reshape(-1))
        if has_fp8_products(x.device) and len(rows):
            out = torch._scaled_mm(
                rows,
                self.weight.t(),
                scale_a=scale[:, None],
                scale_b=self.weight_scale[None, :],
                out_dtype=torch.bfloat16,  # the only one that products with a scale a row give
                use_fast_accum=True,
            )
        else:
            out = (rows.float() * scale[:, None]) @ self.dequantised().t()
        return out.to(x.dtype).view(*x.shape[:-1], O)

    def dequantised(self) -> torch.Tensor:
        """The weight (O, I) float32 that the layer really applies."""
        return self.weight.float() * self.weight_scale[:, None]
