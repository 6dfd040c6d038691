"""Wav2Lip: lips that follow any speech, painted into any video."""

from talkingface.model.wav2lip.model import Wav2Lip

__all__ = ["Wav2Lip"]
