"""PC-AVS: talking faces whose mouth follows speech and whose head follows another video."""

from talkingface.model.pc_avs.model import PC_AVS

__all__ = ["PC_AVS"]
