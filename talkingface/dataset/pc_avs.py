"""PC-AVS's lists of who speaks, what is said and how the head moves; and its protocol on VoxCeleb2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from talkingface.dataset.base import Clip, Line, checked, read_list
from talkingface.dataset.folder import SOUNDS, numbered
from talkingface.dataset.voxceleb2 import VoxCeleb2
from talkingface.errors import ConfigError, DatasetError
from talkingface.media.image import SUFFIXES as PICTURES
from talkingface.media.video import Video
from talkingface.registry import DATASETS

NOTHING = ("none", "dummy", "")  # words for "no file" in a list
STILL = Path("none")  # the pose of a head that does not move
PREFIX = "misc"  # the folder that the authors' lists begin with: their own
POSES = ("own", "other", "still")
SUFFIXES = (*SOUNDS, *PICTURES)
TRUTHS = ("self", "mouth", "none")


@dataclass(frozen=True)
class DrivenClip(Clip):
    """A clip of an authors' list.

    Args:
        mouth: the video that belongs to the speech: shown beside the result, and compared with; it drives nothing.
        pose_count: use only so many frames of the pose video; 0 = all.
        spectrogram: an .npy file of the speech's spectrogram, to be used instead of the speech.
    """

    mouth: Path | None = None
    pose_count: int = 0
    spectrogram: Path | None = None

    @classmethod
    def of(cls, clip: Clip) -> DrivenClip:
        """Any clip as one of these; its real video is what belongs to the speech."""
        return clip if isinstance(clip, cls) else cls(**vars(clip), mouth=clip.truth)


@DATASETS.register("PC_AVSDataset", aliases=["voxtest"])
class PCAVSDataset(VoxCeleb2):
    """The authors' demo.csv as test clips, or VoxCeleb2's test clips by their protocol; training clips as in VoxCeleb2.

    A line of a list has eight fields with blanks between, and no header: input folder, number of input pictures, pose folder,
    number of pose frames, audio file, mouth folder or None, number of mouth frames, spectrogram .npy or dummy. Folders hold
    numbered pictures; videos and pictures may be named as well. Paths are relative to the list's folder, which `misc/` also
    stands for, to the root, or to where the program runs.

    Args:
        root: a folder as VoxCeleb2's, for training and for tests without a list.
        meta_path_vox: the list of test clips; "" = demo.csv in the root, or the authors' misc/demo.csv where there is no root;
            else VoxCeleb2's test clips.
        pose: whose head motion VoxCeleb2's test clips follow: "own"; "other", the next clip of the same speaker, or else of
            anyone; "still".
        truth: which clips of a list are compared with their mouth folder: "self", where input and mouth folder are of one
            name; "mouth", all; "none". A pose video is never what a result should look like.
        val_fraction: share of the speakers for validation.
        test_fraction: share of the speakers for test, where the official test part is absent.

    Raises:
        ConfigError: `pose` or `truth` is out of range.
    """

    list_format = "input_folder 1 pose_folder 160 audio_file mouth_folder|None 363 spectrogram.npy|dummy"

    def __init__(
        self,
        root: Path | str = "dataset/PC_AVSDataset",
        meta_path_vox: Path | str = "",
        pose: str = "other",
        truth: str = "self",
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
    ):
        super().__init__(root, val_fraction, test_fraction)
        for name, value, allowed in (("pose", pose, POSES), ("truth", truth, TRUTHS)):
            if value not in allowed:
                raise ConfigError(f"PC_AVSDataset.{name}: expected one of {', '.join(allowed)}, got {value!r}.")
        self.given_list = Path(meta_path_vox).expanduser() if str(meta_path_vox) else None
        self.pose, self.truth = pose, truth

    @property
    def test_list(self) -> Path | None:
        """The list of test clips, if there is one."""
        usual = [self.root / "demo.csv"] if self.root.exists() else [Path(PREFIX) / "demo.csv"]
        return self.given_list or next((path for path in usual if path.is_file()), None)

    def clips(self, split: str) -> list[Clip]:
        """The clips of a split.

        Raises:
            DatasetError: no list and no videos, a line that is not as it should be, or a path in it where nothing lies.
        """
        if split == "test" and self.test_list is not None:
            return checked(numbered([self.job(line) for line in read_list(self.test_list)]))
        clips = super().clips(split)
        return posed(clips, self.pose) if split == "test" else clips

    def job(self, line: Line) -> DrivenClip:
        """The clip of one line of a list.

        Raises:
            DatasetError: naming file and line: fields are missing, a number is none or too large, or nothing lies at a path.
        """
        fields = line.split()
        if len(fields) != 8:
            raise DatasetError(f"{line.where}: expected 8 fields, '{self.list_format}', got {len(fields)}: {str(line)!r}.")
        face, faces, pose, poses, audio, mouth, mouths, spectrogram = fields
        for what, number in (("input pictures", faces), ("pose frames", poses), ("mouth frames", mouths)):
            if not number.isdecimal():
                raise DatasetError(f"{line.where}: the number of {what} should be a whole number, got {number!r}.")
        clip = DrivenClip(
            name="_".join(f"{what}_{stem_of(path)}" for what, path in (("id", face), ("pose", pose), ("audio", audio))),
            face=self.existing(face, line),
            audio=self.existing(audio, line),
            pose=STILL if pose.casefold() in NOTHING else self.existing(pose, line),
            mouth=None if mouth.casefold() in NOTHING else self.existing(mouth, line),
            spectrogram=None if spectrogram.casefold() in NOTHING else self.existing(spectrogram, line),
            pose_count=int(poses),
        )
        self.check_count(clip, line)
        is_real = clip.mouth is not None and (self.truth == "mouth" or (self.truth == "self" and stem_of(face) == stem_of(mouth)))
        return replace(clip, truth=clip.mouth if is_real else None, speaker=stem_of(face))

    def existing(self, name: str, line: Line) -> Path:
        """Where a path of a list lies.

        Raises:
            DatasetError: nowhere; the message names the places.
        """
        folder, path = Path(line.where.rpartition(", line ")[0]).parent, Path(name).expanduser()
        inside = Path(*path.parts[1:]) if path.parts[0] == PREFIX and len(path.parts) > 1 else path
        places = dict.fromkeys([folder / inside, folder / path, self.root / inside, path])
        for place in places:
            if place.exists():
                return place
        raise DatasetError(f"{line.where}: {name} does not exist: neither {', nor '.join(map(str, places))}.")

    @staticmethod
    def check_count(clip: DrivenClip, line: Line) -> None:
        """Refuse a pose folder with fewer pictures than its line says, and a pose of no frames."""
        if clip.pose is None or is_still(clip.pose):
            return
        if not clip.pose_count:
            raise DatasetError(f"{line.where}: 0 pose frames; give 1 or more, or None instead of {clip.pose} for a still head.")
        video = Video(clip.pose)
        if video.has_pictures and len(video) < clip.pose_count:
            counts = f"{clip.pose_count} pose frames, and {clip.pose} has {len(video)} pictures"
            raise DatasetError(f"{line.where}: {counts}. Correct the number, or complete the folder.")


def is_still(pose: Path | None) -> bool:
    """Whether a pose says that the head does not move."""
    return pose is not None and str(pose).casefold() == str(STILL)


def stem_of(path: str) -> str:
    """The name of a folder, or of a file without its suffix."""
    name = Path(path).name
    return Path(name).stem if Path(name).suffix.lower() in SUFFIXES else name


def posed(clips: Sequence[Clip], pose: str) -> list[Clip]:
    """Clips whose head follows their own video, the next clip of the same speaker (or else of anyone), or stays still."""
    if pose != "other" or len(clips) < 2:
        return [replace(clip, pose=STILL if pose == "still" else clip.face) for clip in clips]
    result = []
    for i, clip in enumerate(clips):
        others = [clips[(i + k) % len(clips)] for k in range(1, len(clips))]
        other = next((other for other in others if other.speaker == clip.speaker), others[0])
        result.append(replace(clip, pose=other.face))
    return result
