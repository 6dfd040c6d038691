"""Several processes that train as one: who am I, averages over all, and batch norms that see the whole batch.

Device and processes come from accelerate (`accelerate launch`, or torchrun's environment). A stage is no single forward
pass, so nothing is wrapped: the trainer sums the gradients of a group itself, in one message per update.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def processes(cpu: bool = False) -> PartialState:
    """Accelerate's view of the processes; the first call in a process joins it to the others.

    Without a GPU, accelerate joins processes only when it is told that they use the CPU.
    """
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    return PartialState(cpu=cpu or (several and not torch.cuda.is_available()))


def device() -> torch.device:
    """The accelerator of this process, else the CPU."""
    return processes().device


def rank() -> int:
    """The number of this process, from 0."""
    return processes().process_index


def num_processes() -> int:
    """How many processes train together."""
    return processes().num_processes


def is_main() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return processes().is_main_process


def wait() -> None:
    """Go on when every process has come here."""
    processes().wait_for_everyone()


def agree(text: str) -> str:
    """The main process's text, in every process."""
    if num_processes() == 1:
        return text
    data = torch.tensor(list(text.encode()), dtype=torch.uint8, device=device())
    length = torch.tensor([len(data)], device=device())
    dist.broadcast(length, 0)
    if not is_main():
        data = torch.empty(int(length), dtype=torch.uint8, device=device())
    dist.broadcast(data, 0)
    return bytes(data.tolist()).decode()


def agree_number(value: float, where: torch.device) -> float:
    """The main process's number, in every process."""
    if num_processes() == 1:
        return value
    data = torch.tensor([value], dtype=torch.float64, device=where)
    dist.broadcast(data, 0)
    return float(data)


def total(values: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if num_processes() > 1:
        dist.all_reduce(values)
    return values


def gather(values: Tensor) -> list[Tensor]:
    """The values of every process, in the order of the processes; all have the same shape."""
    if num_processes() == 1:
        return [values]
    everyone = [torch.empty_like(values) for _ in range(num_processes())]
    dist.all_gather(everyone, values.contiguous())
    return everyone


def copy_from_main(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of the main process."""
    if num_processes() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


@torch.no_grad()
def sum_gradients(parameters: Sequence[nn.Parameter], losses: Tensor) -> Tensor:
    """Sum the gradients of all processes, in place, and return the sum of their losses: one message for everything.

    A parameter without a gradient in every process stays without one.
    """
    if num_processes() == 1:
        return losses
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    has_gradient = torch.tensor([float(p.grad is not None) for p in parameters], device=losses.device)
    message = torch.cat([g.float().flatten() for g in gradients] + [has_gradient, losses.float().flatten()])
    dist.all_reduce(message)
    *summed, has_gradient, losses = message.split([g.numel() for g in gradients] + [len(has_gradient), losses.numel()])
    for parameter, gradient, present in zip(parameters, summed, has_gradient.tolist(), strict=True):
        parameter.grad = gradient.view_as(parameter).to(parameter.dtype) if present else None
    return losses


@contextmanager
def global_batch_norm(networks: nn.Module) -> Iterator[None]:
    """Batch norms in training mode take their statistics over the batches of all processes, while this lasts.

    torch.nn.SyncBatchNorm does the same on CUDA alone, and by replacing the modules; this changes no class and no name.
    """
    norms = [m for m in networks.modules() if isinstance(m, _BatchNorm)] if num_processes() > 1 else []
    for norm in norms:
        norm.__dict__["forward"] = partial(global_forward, norm, norm.forward)
    try:
        yield
    finally:
        for norm in norms:
            del norm.__dict__["forward"]


@contextmanager
def local_batch_norm(networks: nn.Module) -> Iterator[None]:
    """Batch norms are torch's own again, while this lasts: validation takes its batches at each process's own pace."""
    patched = {m: m.__dict__.pop("forward") for m in networks.modules() if isinstance(m, _BatchNorm) and "forward" in m.__dict__}
    try:
        yield
    finally:
        for norm, forward in patched.items():
            norm.__dict__["forward"] = forward


def global_forward(norm: Any, local_forward: Any, x: Tensor) -> Tensor:
    """A batch norm's forward pass with the mean and variance over all processes."""
    if not norm.training:
        return local_forward(x)
    norm._check_input_dim(x)
    axes = [d for d in range(x.dim()) if d != 1]
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    sums = torch.cat([exact.sum(axes), exact.new_tensor([x.numel() / x.shape[1]])])
    totals = SumOverProcesses.apply(sums)
    count = totals[-1].detach()
    shape = [1, -1] + [1] * (x.dim() - 2)
    mean = totals[:-1] / count
    centered = exact - mean.view(shape)
    variance = SumOverProcesses.apply(centered.square().sum(axes)) / count
    if norm.track_running_stats:
        update_running_statistics(norm, mean.detach(), variance.detach(), count)
    out = centered * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.affine:
        out = out * norm.weight.view(shape) + norm.bias.view(shape)
    return out.to(x.dtype)


@torch.no_grad()
def update_running_statistics(norm: Any, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """As torch's own batch norm: the running variance is the unbiased one."""
    norm.num_batches_tracked += 1
    momentum = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_((variance * count / (count - 1).clamp(min=1)).to(norm.running_var.dtype), momentum)


class SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; what flows back is summed too, since every process's loss depends on it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient
