"""Published helper networks whose layers come from a library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn


class Adopted(nn.Module):
    """The layers of a library's network, under the names that they have there and in published files."""

    def __init__(self, published: nn.Module):
        super().__init__()
        for name, layer in published.named_children():
            self.add_module(name, layer)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A layer."""
