"""What an optimizer updates and how fast: groups, learning-rate schedules, averages of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import get_ema_multi_avg_fn

from talkingface.config import flat_dict
from talkingface.errors import CheckpointError, ConfigError, TrainingError
from talkingface.model.stage import Stage
from talkingface.trainer.settings import TrainingSettings


class Group:
    """What one optimizer updates, and its schedule.

    Args:
        name: of the group, as `Stage.losses` yields it.
        parameters: name in the stage -> parameter.
        settings: this group's own.
    """

    def __init__(self, name: str, parameters: Mapping[str, nn.Parameter], settings: TrainingSettings):
        shares = by_rate(parameters, flat_dict(settings.rates))
        self.name = name
        self.names = [name for share in shares.values() for name in share]  # in the order in which the optimizer numbers them
        self.parameters = [parameters[name] for name in self.names]
        self.clip_norm = settings.clip_norm
        rate = settings.learning_rate
        options = [{"params": list(share.values()), "lr": factor * rate} for factor, share in shares.items()]
        self.optimizer = make_optimizer(options, settings)
        self.schedule: LambdaLR

    def set_schedule(self, factor: Callable[[int], float], step: int) -> None:
        """Follow a schedule from an update on."""
        for options in self.optimizer.param_groups:
            options["initial_lr"] = options.get("initial_lr", options["lr"])
        self.schedule = LambdaLR(self.optimizer, factor, last_epoch=step - 1)

    def learning_rate(self) -> float:
        """Of the next update."""
        return float(self.optimizer.param_groups[0]["lr"])

    def clip(self) -> Tensor | None:
        """Clip the gradients and return their norm before that; None without gradients."""
        if all(p.grad is None for p in self.parameters):
            return None
        return torch.nn.utils.clip_grad_norm_(self.parameters, self.clip_norm or math.inf)

    def state(self) -> dict[str, Tensor]:
        """The optimizer's memory: '<group>/<key>/<parameter>' -> tensor."""
        state = self.optimizer.state
        return {
            f"{self.name}/{key}/{name}": value
            for name, parameter in zip(self.names, self.parameters, strict=True)
            for key, value in state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave. Learning rates and other settings stay those of the configuration."""
        numbers = {name: i for i, name in enumerate(self.names)}
        state: dict[int, dict[str, Tensor]] = {}
        for place, tensor in tensors.items():
            group, key, name = place.split("/", 2)
            if group == self.name:
                if name not in numbers:
                    raise CheckpointError(f"the checkpoint's group {group!r} updates {name!r}, which this stage does not train.")
                state.setdefault(numbers[name], {})[key] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


def by_rate(parameters: Mapping[str, nn.Parameter], rates: Mapping[str, float]) -> dict[float, dict[str, nn.Parameter]]:
    """Factor of the learning rate -> the parameters that have it, those with 1 first.

    Args:
        parameters: name in the stage -> parameter.
        rates: the beginning of names, up to a dot -> factor; the longest one that fits counts.
    """
    shares: dict[float, dict[str, nn.Parameter]] = {1.0: {}}
    for name, parameter in parameters.items():
        prefix = max((known for known in rates if f"{name}.".startswith(f"{known}.")), key=len, default=None)
        shares.setdefault(1.0 if prefix is None else float(rates[prefix]), {})[name] = parameter
    return {factor: share for factor, share in shares.items() if share}


def make_optimizer(parameters: list[dict[str, Any]], settings: TrainingSettings) -> Optimizer:
    """The optimizer that settings name, for parameters in groups of one learning rate each."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "SGD":
        return torch.optim.SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay)
    cls = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}[settings.optimizer]
    return cls(parameters, lr=rate, betas=tuple(settings.betas), weight_decay=decay, amsgrad=settings.amsgrad)


def make_groups(stage: Stage, settings: TrainingSettings) -> dict[str, Group]:
    """The groups of a stage; nothing but their parameters will change.

    Raises:
        ConfigError: settings name a group that the stage does not have.
        TrainingError: a group has nothing to train, or a network that is no attribute of the stage.
    """
    networks = stage.trainable()
    if unknown := set(settings.groups) - set(networks):
        raise ConfigError(f"training.groups.{min(unknown)}: no such group; {type(stage).__name__} has {', '.join(networks)}.")
    check_rates(stage, settings)
    names = {id(parameter): name for name, parameter in stage.named_parameters()}
    groups = {}
    for group, members in networks.items():
        parameters = {id(p): p for network in members for p in network.parameters() if p.requires_grad}
        if not parameters or not names.keys() >= parameters.keys():
            what = "networks that are no attributes of the stage" if parameters else "no parameter to train"
            raise TrainingError(f"group {group!r} of {type(stage).__name__} has {what}.")
        groups[group] = Group(group, {names[i]: p for i, p in parameters.items()}, settings.of_group(group))
    return groups


def check_rates(stage: Stage, settings: TrainingSettings) -> None:
    """Refuse rates of networks that the stage does not train.

    Raises:
        ConfigError: naming those that it does.
    """
    groups = {group: settings.of_group(group) for group in stage.trainable()}
    rates = {network for own in (settings, *groups.values()) for network in flat_dict(own.rates)}
    trained = {id(p) for networks in stage.trainable().values() for network in networks for p in network.parameters()}
    names = [name for name, parameter in stage.named_parameters() if id(parameter) in trained]
    for network in sorted(rates):
        if not any(name.startswith(f"{network}.") for name in names):
            known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise ConfigError(f"training.rates.{network}: {type(stage).__name__} trains no such network, but {known}.")


@contextmanager
def only_trainable(stage: Stage, groups: Mapping[str, Group]) -> Iterator[None]:
    """Parameters of no group need no gradients while this lasts: autograd keeps nothing for them."""
    trained = {id(parameter) for group in groups.values() for parameter in group.parameters}
    frozen = [p for p in stage.parameters() if p.requires_grad and id(p) not in trained]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


def make_schedule(settings: TrainingSettings, length: int, per_epoch: int = 1) -> Callable[[int], float]:
    """Update (from 0) -> factor of the learning rate; a function of the update alone, so that a resumed training follows it.

    Args:
        length: updates in the training, for schedules that have no length of their own.
        per_epoch: updates in an epoch.
    """
    end, hold = settings.schedule_steps or length, round(settings.hold_epochs * per_epoch)
    return partial(factor, settings.schedule, settings.warmup_steps, end, settings.schedule_gamma, hold=hold)


def factor(schedule: str, warmup: int, length: int, gamma: float, step: int, hold: int = 0) -> float:
    """Rise over `warmup` updates, stay for `hold`; then constant, to 0 (cosine, linear) or by gamma per `length` (others)."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    warmup += hold
    if schedule == "constant" or step < warmup:
        return 1.0
    if schedule == "step":
        return gamma ** ((step - warmup) // max(1, length))
    if schedule == "exponential":
        return gamma ** ((step - warmup) / max(1, length))
    done = min(1.0, (step - warmup) / max(1, length - warmup))
    return 1.0 - done if schedule == "linear" else (1.0 + math.cos(math.pi * done)) / 2


class MovingAverage:
    """An exponential moving average of trained networks: parameters and running statistics.

    The decay starts low and rises to its value, so that a short training is not mostly its made-up start:
    min(decay, (1 + t) / (10 + t)) at update t.
    """

    def __init__(self, stage: Stage, decay: float):
        networks = [network for networks in stage.trainable().values() for network in networks]
        tensors = {id(t): t for network in networks for t in (*network.parameters(), *network.buffers())}
        named: dict[str, Tensor] = dict(stage.named_parameters()) | dict(stage.named_buffers())
        self.live = {n: t for n, t in named.items() if id(t) in tensors and t.is_floating_point()}
        self.average = {name: tensor.detach().clone() for name, tensor in self.live.items()}
        self.decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after update `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(list(self.average.values()), [t.detach() for t in self.live.values()], step)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the networks' weights and the average."""
        for name, tensor in self.live.items():
            held = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(held)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The networks have the averaged weights while this lasts."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
