"""Convolutions to run and not to train: weights in the precision and the order that the device works in, once at load.

y = conv2d(x, w) + b, exactly as torch's in that precision
on a CPU oneDNN puts weights into blocks of its own before it multiplies; for small pictures, doing that on every
call takes as long as the products (192 channels at 8x8 in bf16: 186 us a call, 96 us with weights put in order)
a CPU without products of that precision makes them in float32, on weights and inputs rounded to it: oneDNN does not
pack what it has no products for, and torch's own are 20 times slower
"""

import copy
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from .device import has_half_dots

M = TypeVar("M", bound=nn.Module)


class ServedConv2d(nn.Module):
    """A Conv2d of zero padding as `serve_convolutions` leaves it: casts its input to its own dtype. No gradients."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        padding, stride, dilation = ([int(n) for n in part] for part in (conv.padding, conv.stride, conv.dilation))
        self._shape = (padding, stride, dilation, conv.groups)
        # outside of inference mode: an engine made there must be usable elsewhere
        with torch.inference_mode(False), torch.no_grad():
            weight = conv.weight.detach().to(dtype)
            self.bias = None if conv.bias is None else conv.bias.detach().to(dtype)
            self._dtype = dtype
            self._is_packed = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
            self._inner = dtype if has_half_dots(weight) else torch.float32  # the precision of the products
            weight = weight.to(self._inner)
            self.bias = None if self.bias is None else self.bias.to(self._inner)
            if self._is_packed:
                self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *self._shape)
            else:
                self.weight = weight.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, I, H, W) -> (B, O, H', W') in this layer's dtype."""
        padding, stride, dilation, groups = self._shape
        x = x.to(self._dtype).to(self._inner)
        if self._is_packed:
            y = torch.mkldnn_convolution(x, self.weight, self.bias, padding, stride, dilation, groups)
        else:
            y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)
        return y.to(self._dtype)


def channels_last(module: M) -> M:
    """The module itself, with its weights in the order that CPUs multiply fastest."""
    return cast(Any, module).to(memory_format=torch.channels_last)  # torch's types know of no such argument


def serve_convolutions(module: M, dtype: torch.dtype, *, wide: tuple[nn.Conv2d, ...] = ()) -> M:
    """A copy of a float32 module in `dtype` with every Conv2d served; those in `wide` stay in float32.

    Raises ValueError for a convolution with another padding than zeros, which the modules here have none of.
    """
    served = copy.deepcopy(module).to(dtype)
    for name, conv in module.named_modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ValueError(f"serve_convolutions: {name} pads with {conv.padding_mode}; wanted zeros, by numbers")
        owner, _, leaf = name.rpartition(".")
        setattr(served.get_submodule(owner), leaf, ServedConv2d(conv, torch.float32 if conv in wide else dtype))
    return served.eval().requires_grad_(False)
