"""The operations that a step of the dream spends its time in, one file for each.

Each file reads in one order: the maths, a reference in plain torch (the definition), the Triton kernel, and the
public function that checks shapes, allocates and picks by device. CUDA tensors take the Triton kernels and CPU tensors
take the references, which are written to be fast there; there is no flag to set. `backend(device)` says which it is.
"""

from .device import backend

__all__ = ["backend"]
