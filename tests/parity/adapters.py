"""ADAPTERS: golden case -> function(case) -> {output: array}; one for each case, through the code that users run."""

from tests.parity import (
    adapters_davs,
    adapters_davs_training,
    adapters_makeittalk_pictures,
    adapters_makeittalk_speech,
    adapters_makeittalk_training,
    adapters_pc_avs,
    adapters_pc_avs_training,
    adapters_syncnet,
    adapters_video_retalking_networks,
    adapters_video_retalking_pipeline,
    adapters_video_retalking_training,
    adapters_wav2lip,
)

MODELS = (
    adapters_wav2lip,
    adapters_syncnet,
    adapters_pc_avs,
    adapters_pc_avs_training,
    adapters_makeittalk_speech,
    adapters_makeittalk_pictures,
    adapters_makeittalk_training,
    adapters_video_retalking_networks,
    adapters_video_retalking_pipeline,
    adapters_video_retalking_training,
    adapters_davs,
    adapters_davs_training,
)
ADAPTERS = {name: function for model in MODELS for name, function in model.ADAPTERS.items()}
