"""MEAD: actors who say sentences in eight emotions, filmed from seven sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from talkingface.dataset.folder import SOUNDS, Folder
from talkingface.errors import ConfigError, DatasetError
from talkingface.registry import DATASETS

VIEWS = ("front", "down", "top", "left_30", "left_60", "right_30", "right_60")
EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
LEVELS = ("level_1", "level_2", "level_3")


@DATASETS.register("mead")
class MEAD(Folder):
    """MEAD: actors who say sentences in 8 emotions of 3 strengths, filmed from 7 sides at once (Wang et al., 2020).

    `<actor>/video/<view>/<emotion>/<level>/<number>.mp4`, with the sound in `<actor>/audio/<emotion>/<level>/<number>.m4a`.
    There is no official split; actors are dealt out by their hash.

    Args:
        root: the folder of actors (M003, W009, ...).
        views: sides that are used; [] = all.
        emotions: emotions that are used; [] = all.
        levels: strengths that are used; [] = all.
        val_fraction: share of the actors for validation.
        test_fraction: share of the actors for test.
        cross: test clips say what the next test clip of another actor says (there is no truth then).

    Raises:
        ConfigError: a view, an emotion or a strength that MEAD does not have.
    """

    line_format = "<actor>/video/<view>/<emotion>/<level>/<number>.mp4"

    def __init__(
        self,
        root: Path | str = "dataset/mead",
        views: Sequence[str] = ("front",),
        emotions: Sequence[str] = (),
        levels: Sequence[str] = (),
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        cross: bool = False,
    ):
        super().__init__(root, val_fraction=val_fraction, test_fraction=test_fraction, cross=cross)
        self.wanted = [
            chosen("views", views, VIEWS), chosen("emotions", emotions, EMOTIONS), chosen("levels", levels, LEVELS)
        ]  # fmt: skip

    def videos(self) -> list[Path]:
        """The videos of the chosen views, emotions and strengths.

        Raises:
            DatasetError: no video is of these.
        """
        videos = [video for video in super().videos() if self.is_wanted(video)]
        if not videos:
            shown = " or ".join(self.wanted[0])
            raise DatasetError(f"{self.root} holds no video like '{self.line_format}' of view {shown}. See dataset/README.md.")
        return videos

    def is_wanted(self, video: Path) -> bool:
        """Whether a video is filed under one of each of the chosen."""
        parts = video.relative_to(self.root).parts[:-1]
        return "video" in parts and all(set(parts) & set(choice) for choice in self.wanted)

    def sound(self, video: Path) -> Path:
        """The sound of a video, which is recorded once for all views; the video itself where it is absent."""
        parts = list(video.relative_to(self.root).parts)
        place = parts.index("video") if "video" in parts else 0
        stem = self.root.joinpath(
            *parts[:place], "audio", *(part for part in parts[place + 1 : -1] if part not in VIEWS), video.stem
        )
        return next((file for suffix in SOUNDS if (file := stem.with_suffix(suffix)).is_file()), video)


def chosen(setting: str, names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The names, or all that are known where none are given."""
    if foreign := [name for name in names if name not in known]:
        raise ConfigError(f"mead.{setting}: no {foreign[0]!r} in MEAD; known are {', '.join(known)}.")
    return tuple(names) or tuple(known)
