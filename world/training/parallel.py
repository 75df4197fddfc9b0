"""Data parallelism for recipes: the same code in several processes, gradients averaged. On CPUs two processes of one
thread use two cores better than one process of two; on GPUs it is one process a card."""

from __future__ import annotations

import builtins
import os
import socket
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessRaisedException

from ..side_by_side.processes import deaf, end_with


class ProcessError(ValueError):
    """One of several processes could not go on; the message is what it said."""


def launch(workers: int, run: Callable, *args) -> None:
    """Call run(rank, workers, *args) in `workers` processes that can reduce over each other; in this one if alone.
    Raises ProcessError for an error that a person can mend in one of them."""
    if workers == 1:
        run(0, 1, *args)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with deaf():
        joined = torch.multiprocessing.spawn(_joined, args=(workers, port, run, args), nprocs=workers, join=False)
    try:
        while not joined.join():
            pass
    except ProcessRaisedException as error:
        raise _failed(error) from error
    except BaseException:  # also for a signal: the processes would go on learning, and this one would wait for them
        for process in joined.processes:
            process.terminate()
        raise


def _failed(error: ProcessRaisedException) -> Exception:
    """What one of the processes raised, as a sentence if a person can mend it: errors of ours, of the system, and of
    a full GPU; torch hands on their traceback alone."""
    kind, _, said = str(error).strip().splitlines()[-1].partition(": ")
    known = getattr(builtins, kind, None)
    is_system = isinstance(known, type) and issubclass(known, OSError)
    is_ours = kind.startswith(__name__.split(".")[0] + ".")
    return ProcessError(said) if is_ours or is_system or kind.endswith("OutOfMemoryError") else error


def _joined(rank: int, workers: int, port: int, run: Callable, args: tuple) -> None:
    threads = max(1, (os.cpu_count() or 1) // workers)
    torch.set_num_threads(threads)
    end_with(os.getppid())
    if torch.cuda.is_available():
        torch.cuda.set_device(rank % torch.cuda.device_count())  # kernels are launched on it, wherever tensors are
    # a run on CPUs of a machine with GPUs is one as well
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=workers)
    try:
        run(rank, workers, *args)
    finally:
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[Tensor], workers: int) -> None:
    """Replace every gradient by its mean over all processes, in one message."""
    if workers == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(flat)
    flat /= workers
    for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(mean.view_as(grad))


def agreed(value: float, workers: int, *, device: torch.device | str = "cpu") -> float:
    """The first process's value, in all of them: clocks differ, decisions must not. device: where the processes
    train, because GPU processes can only send tensors on GPUs."""
    if workers == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(tensor, 0)
    return tensor.item()
