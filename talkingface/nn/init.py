"""How networks start."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def xavier_init(network: M, gain: float = 0.02) -> M:
    """Start as SPADE's code does: convolutions and linear layers Xavier normal without bias, batch norms near 1.

    Apply it before spectral norm, which takes over the weights.

    Returns:
        The network itself.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.xavier_normal_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, gain)
            nn.init.zeros_(module.bias)
    return network


def normal_init(network: M, deviation: float = 0.02) -> M:
    """Start as PIRenderer's code does: weights of convolutions and linear layers normal, biases 0.

    Returns:
        The network itself.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
