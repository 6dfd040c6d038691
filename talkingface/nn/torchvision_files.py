"""Files that torchvision publishes: where they lie on this disk, and what to tell where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from talkingface.errors import MissingWeightsError


class Published(NamedTuple):
    """A file of ImageNet weights on https://download.pytorch.org/models/.

    Attributes:
        name: of the file; the eight digits are the start of its SHA-256.
        size: in MB.
    """

    name: str
    size: int


VGG19 = Published("vgg19-dcbb9e9d.pth", 575)
RESNEXT50 = Published("resnext50_32x4d-7cdf4587.pth", 100)


def find_file(published: Published, given: Path | str = "", otherwise: str = "") -> Path:
    """The file that was given, else the one in torchvision's cache. Nothing is fetched.

    Args:
        given: a file, or a folder that holds it; "" = torchvision's cache.
        otherwise: what to do without it, for the message.

    Raises:
        MissingWeightsError: it is not there; the message says where it comes from.
    """
    folder = Path(given).expanduser() if given else Path(torch.hub.get_dir()) / "checkpoints"
    path = folder if given and not folder.is_dir() else folder / published.name
    if not path.is_file():
        stem = published.name.rpartition("-")[0]
        path = next(iter(sorted(folder.glob(f"{stem}-*.pth"))), path)
    if not path.is_file():
        source = f"https://download.pytorch.org/models/{published.name}"
        raise MissingWeightsError(
            f"{path} does not exist. Fetch it from {source} ({published.size} MB)." + f" {otherwise}".rstrip()
        )
    return path
