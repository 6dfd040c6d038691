"""DAVS's sample folders: a few pictures of who speaks, each driven by one folder of speech or of faces."""

from __future__ import annotations

from pathlib import Path

from talkingface.dataset.base import Clip, checked
from talkingface.dataset.classes import natural
from talkingface.dataset.lrw import LRW
from talkingface.errors import DatasetError
from talkingface.media.image import SUFFIXES
from talkingface.registry import DATASETS


@DATASETS.register("DAVSDataset")
class DAVSDataset(LRW):
    """The authors' demo as test clips: each picture of `test_A_path`, driven by `test_root`; training clips as in LRW.

    Args:
        root: the folder of train, val and test (the authors' main_PATH).
        image_block_name: folder of the aligned faces in a prepared clip.
        test_root: what drives the test clips: a folder of 2.jpg, 3.jpg, ... or of 2.bin, 3.bin, ..., or any sound or video file;
            "" = the test clips of the root.
        test_A_path: a picture, or the folder of the pictures of who speaks: test_sample1.jpg, test_sample2.jpg, ..., or, where
            there are none of this name, all.
    """

    def __init__(
        self,
        root: Path | str = "data",
        image_block_name: str = "align_face256",
        test_root: Path | str = "",
        test_A_path: Path | str = "./demo_images",
    ):
        super().__init__(root, image_block_name)
        self.test_root = Path(test_root).expanduser() if str(test_root) else None
        self.test_A_path = Path(test_A_path).expanduser()

    def clips(self, split: str) -> list[Clip]:
        """The clips of a split.

        Raises:
            DatasetError: there is no picture, nothing that drives, or no training clip.
        """
        if split != "test" or self.test_root is None:
            return super().clips(split)
        if not self.test_root.exists():
            raise DatasetError(
                f"DAVSDataset.test_root: {self.test_root} does not exist; name a folder of frames or of .bin files."
            )
        driver = self.test_root
        return checked([Clip(picture.stem, picture, driver, speaker=picture.stem) for picture in self.pictures()])

    def pictures(self) -> list[Path]:
        """The pictures of who speaks, in natural order.

        Raises:
            DatasetError: there are none.
        """
        if self.test_A_path.is_file():
            return [self.test_A_path]
        found = self.test_A_path.iterdir() if self.test_A_path.is_dir() else ()
        pictures = sorted((path for path in found if path.suffix.lower() in SUFFIXES), key=lambda path: natural(path.name))
        if not pictures:
            raise DatasetError(
                f"DAVSDataset.test_A_path: {self.test_A_path} holds no pictures; it should hold test_sample1.jpg and so on."
            )
        return [path for path in pictures if path.stem.startswith("test_sample")] or pictures
