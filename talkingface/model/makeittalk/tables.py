"""Numbers that MakeItTalk's networks cannot do without, from the authors' repository (CC BY-NC 4.0)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

with np.load(Path(__file__).with_name("tables.npz"), allow_pickle=False) as _tables:
    STANDARD_FACE: np.ndarray = _tables["standard_face"]
    """(68, 3): outer eye corners one unit apart, their middle the origin, y down. (STD_FACE_LANDMARKS.txt)"""

    ANCHOR: np.ndarray = _tables["anchor"]
    """(9, 3) in pixels: where the points that move little lie in a frontal face. (ANCHOR_T_SHAPE_9.txt)"""

    MEL_MEAN: np.ndarray = _tables["mel_mean"]
    MEL_DEVIATION: np.ndarray = _tables["mel_deviation"]
    """(80,) each, of converted mel. (MEAN_STD_AUTOVC_RETRAIN_MEL_AU.txt)"""

    TARGET_VOICE: np.ndarray = _tables["target_voice"]
    """(256,): the embedding of the voice that every voice is converted to; its length is 0.9967. (obama_emb.txt)"""
