"""The models: importing one registers it."""

from talkingface.model import davs as davs
from talkingface.model import makeittalk as makeittalk
from talkingface.model import pc_avs as pc_avs
from talkingface.model import syncnet as syncnet
from talkingface.model import videoretalking as videoretalking
from talkingface.model import wav2lip as wav2lip
