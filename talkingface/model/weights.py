"""Reading, checking and saving weights, for models: see talkingface.nn.weights, which the face detectors use too."""

from talkingface.nn.weights import (
    Weights,
    known_networks,
    load_weights,
    read_weights,
    recognise,
    register_network,
    save_weights,
)

__all__ = ["Weights", "known_networks", "load_weights", "read_weights", "recognise", "register_network", "save_weights"]
