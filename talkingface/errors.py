"""Every exception of ours.

TalkingFaceError            what a user can mend; the command line prints the message and no traceback
|-- ConfigError             a setting that is unknown, of the wrong type or out of range
|-- RegistryError           a model, dataset, metric or stage that nobody registered
|-- MediaError              a video, sound or picture that cannot be read or written
|   `-- FaceError           a face that is needed and not found
|-- DatasetError            a file list, folder or clip that is not as its dataset says
|-- CheckpointError         weights that are missing, damaged, of another network, or unsafe
|   |-- MissingWeightsError published weights that are not on this disk
|   `-- DownloadError       published weights that could not be fetched, or are not what they should be
|-- ScoreError              a clip that a metric cannot score, and why
`-- TrainingError           a training that cannot go on: NaN losses, nothing to train on
"""


class TalkingFaceError(Exception):
    """What a user can mend. The message says what is wrong, where, and what to do."""

    exit_code = 1


class ConfigError(TalkingFaceError):
    """A setting that is unknown, of the wrong type or out of range."""

    exit_code = 2


class RegistryError(ConfigError):
    """A model, dataset, metric or stage that nobody registered."""


class MediaError(TalkingFaceError):
    """A video, sound or picture that cannot be read or written."""

    exit_code = 3


class FaceError(MediaError):
    """A face that is needed and not found."""


class DatasetError(TalkingFaceError):
    """A file list, folder or clip that is not as its dataset says."""

    exit_code = 3


class CheckpointError(TalkingFaceError):
    """Weights that are missing, damaged, of another network, or unsafe to read."""

    exit_code = 4


class MissingWeightsError(CheckpointError):
    """Published weights that are not on this disk."""


class DownloadError(CheckpointError):
    """Published weights that could not be fetched, or are not what they should be."""


class ScoreError(TalkingFaceError):
    """A clip that a metric cannot score, and why. The evaluator writes it into the report and goes on."""

    exit_code = 5


class TrainingError(TalkingFaceError):
    """A training that cannot go on: NaN losses, nothing to train on."""

    exit_code = 6
