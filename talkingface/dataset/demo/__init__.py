"""The demo world: drawn heads that babble, made on the spot.

world.py the data set; clip.py one recording; phones.py what is said; voice.py how it sounds; motion.py how it looks in
time; look.py who; face_shape.py, paint.py and head.py how they are drawn.
"""

from talkingface.dataset.demo.clip import RenderedClip, render_clip
from talkingface.dataset.demo.look import Speaker, make_speaker
from talkingface.dataset.demo.phones import Segment, sentence
from talkingface.dataset.demo.world import Demo

__all__ = ["Demo", "RenderedClip", "Segment", "Speaker", "make_speaker", "render_clip", "sentence"]
