"""talkingface: train, run and score talking-face models.

    import talkingface
    model = talkingface.load("Wav2Lip", "checkpoints/Wav2Lip/wav2lip_gan.pth")
    model.generate("face.mp4", "speech.wav", "talking.mp4")

Importing this package is cheap: nothing heavier than the registry is loaded until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from talkingface.speaker import load as load

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is asked for."""
    if name == "load":
        from talkingface.speaker import load

        return load
    raise AttributeError(f"module 'talkingface' has no attribute {name!r}")
