"""Published helper networks whose layers come from a library."""

from __future__ import annotations

from torch import nn


def adopt(network: nn.Module, published: nn.Module) -> None:
    """Take over the layers of a library's network, under the names that they have there and in published files."""
    for name, layer in published.named_children():
        network.add_module(name, layer)
