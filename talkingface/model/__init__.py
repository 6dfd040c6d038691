"""The models: importing one registers it."""

from talkingface.model import syncnet as syncnet
from talkingface.model import wav2lip as wav2lip
