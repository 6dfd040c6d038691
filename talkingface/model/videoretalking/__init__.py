"""VideoReTalking: the mouth of a talking video follows another speech, in the full frame (Cheng et al., SIGGRAPH Asia 2022)."""

from talkingface.model.videoretalking.model import VideoReTalking

__all__ = ["VideoReTalking"]
