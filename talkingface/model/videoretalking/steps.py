"""The six steps from a video and speech to a video that says it. What a step has made is kept, so none is done twice.

    1 faces        where the face is                         talkingface.model.videoretalking.locate
    2 coefficients what the head does                        coefficients
    3 heads        redrawn with one expression (DNet)        stabilise
    4 references   made sharp (GPEN)                         enhance, reference
    5 speech       the face that says it (LNet and ENet)     speak
    6 frames       the face in its frame                     paste

Steps 1 to 4 know nothing of the speech: another speech for the same video starts at step 5. Each step works through the video
in pieces of a few frames; only those are in memory, and on disk they appear whole or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from talkingface.media.edited import EditedVideo
from talkingface.model.base import Frame
from talkingface.model.videoretalking.coefficients import landmark_coefficients, network_coefficients
from talkingface.model.videoretalking.enhance import enhance
from talkingface.model.videoretalking.geometry import NUM_COEFFICIENTS, SIDE, steering, window_frames
from talkingface.model.videoretalking.locate import Faces, authors_faces, followed_faces
from talkingface.model.videoretalking.paste import Patch, as_authors, put_down, seamless
from talkingface.model.videoretalking.reference import known_face, with_head
from talkingface.model.videoretalking.restoration import ovals
from talkingface.model.videoretalking.speak import Pair, face_pair, speak
from talkingface.model.videoretalking.stabilise import redrawn
from talkingface.model.videoretalking.store import NO_PICTURE, PIECE, Pieces, batches, digest, packed
from talkingface.model.videoretalking.tools import Tools

log = logging.getLogger(__name__)

AT_ONCE = {"cpu": 2, "cuda": 16}  # heads that DNet is given, and faces that are put into their frames, at once


@dataclass(frozen=True)
class Options:
    """How a video is made to speak; the model's settings tell what each means."""

    pads: tuple[int, ...] = (0, 20, 0, 0)
    box: tuple[int, ...] | None = None
    smooth: bool = True
    static: bool = False
    one_shot: bool = False
    without_rl1: bool = False
    up_face: str = "original"
    head_size: int = SIDE
    face_size: int = 384
    detection_batch: int = 4
    speech_batch: int = 16
    faithful: bool = False
    fresh: bool = False
    seed: int = 0


class Shown(NamedTuple):
    """One frame to generate: its number, and the frame of the video that it shows."""

    number: int
    frame: int
    picture: np.ndarray


class Retalking:
    """One video that is made to say one speech.

    Args:
        video: the frames.
        mels: (80, 16) each, the speech of each frame to generate: this decides how many there are.
        speech_key: digest of the speech.
    """

    def __init__(self, video: EditedVideo, mels: Sequence[np.ndarray], speech_key: str, tools: Tools, options: Options):
        self.video, self.mels, self.speech_key, self.tools, self.options = video, mels, speech_key, tools, options
        self.device = next(tools.dnet.parameters()).device.type
        self._pieces: dict[tuple[str, str], Pieces] = {}

    # --- 1 faces ----------------------------------------------------------------------------------------------------------

    @cached_property
    def faces(self) -> Faces:
        """Where the face is."""
        o = self.options
        if self.tools.detectors is not None:
            key = digest("authors", self.tools.print_of("s3fd", "fan"))
            return authors_faces(self.video, self.tools.detectors, o.pads, o.smooth, key, o.detection_batch, o.fresh)
        log.info("1/6 faces: those of %s, found once for every speech", self.video.path.name)
        return followed_faces(self.video, self.tools.finder, o.pads, o.box)

    @cached_property
    def faces_key(self) -> str:
        """Digest of the frames and of where the head is in them."""
        part = [self.video.fps, self.video.start, str(self.video.stop)]
        return digest(self.video.content_hash(), part, self.faces.regions, self.faces.segments, self.faces.landmarks)

    @property
    def needed(self) -> int:
        """Frames of the video that are shown at all."""
        count = len(self.faces.notes)
        return 1 if self.options.static and not self.options.faithful else min(count, len(self.mels))

    def shown(self) -> Iterator[Shown]:
        """The frames to generate with what they show: the video from its start, again and again; or its first frame."""
        number, count = 0, len(self.mels)
        while number < count:
            for frame, picture in zip(range(len(self.faces.notes)), self.video, strict=False):
                repeats = count - number if self.options.static else 1
                for _ in range(repeats):
                    yield Shown(number, frame, picture)
                    number += 1
                if number == count:
                    return

    # --- 2 coefficients ---------------------------------------------------------------------------------------------------

    @cached_property
    def coefficients(self) -> np.ndarray:
        """(T, 262) float32; NaN where there is no face."""
        key = digest(self.faces_key, self.tools.print_of("coefficients"), self.tools.coefficients is None)
        pieces = self.pieces("coefficients", key, size=4 * PIECE)
        faces, network = self.faces, self.tools.coefficients
        for start, heads in pieces.made_from(self.video, "2/6 coefficients", self.head):
            rows = np.full((len(heads), NUM_COEFFICIENTS), np.nan, np.float32)
            for known in batches([k for k, head in enumerate(heads) if head.size], AT_ONCE.get(self.device, 1)):
                landmarks = [faces.landmarks[start + k] for k in known]
                if network is None:
                    rows[known] = landmark_coefficients(landmarks, SIDE)
                else:
                    rows[known] = network_coefficients(network, [heads[k] for k in known], landmarks)
            pieces.write(start, {"rows": rows})
        return pieces.all("rows")

    def head(self, frame: int, picture: np.ndarray, side: int = SIDE) -> np.ndarray:
        """The head in a frame, (side, side, 3); an empty picture where there is none."""
        return self.faces.crop(frame, picture, side) if self.faces.segments[frame] >= 0 else NO_PICTURE

    # --- 3 heads ----------------------------------------------------------------------------------------------------------

    def heads(self, upto: int | None = None) -> Pieces:
        """Pictures (head_size, head_size, 3): the heads, all with the same expression; empty where there is none.

        Args:
            upto: frames that are needed; all by default.
        """
        o, tools = self.options, self.tools
        steers = digest(self.coefficients, tools.expression)
        pieces = self.pieces("heads", digest(self.faces_key, steers, tools.print_of("dnet"), o.head_size, o.one_shot, o.faithful))
        sources = self.first_of_segment() if o.one_shot else self.video
        take = partial(self.head, side=o.head_size)
        for start, heads in pieces.made_from(sources, "3/6 heads (DNet)", take, upto):
            drawn = list(heads)
            for known in batches([k for k, head in enumerate(heads) if head.size], AT_ONCE.get(self.device, 1)):
                told = np.stack([self.steering(start + k) for k in known])
                for k, head in zip(known, redrawn(tools.dnet, [heads[k] for k in known], told, cut=o.faithful), strict=True):
                    drawn[k] = head
            pieces.write(start, packed(drawn))
        return pieces

    def first_of_segment(self) -> Iterator[np.ndarray]:
        """For each frame, the first one of its segment."""
        first: tuple[int, np.ndarray] = (-2, NO_PICTURE)
        for segment, picture in zip(self.faces.segments, self.video, strict=False):
            if segment != first[0]:
                first = (segment, picture)
            yield first[1]

    def steering(self, frame: int) -> np.ndarray:
        """(73, 26): what DNet is told about a frame."""
        window = window_frames(frame, *self.faces.span(frame))
        return steering(self.coefficients[window], self.tools.expression)

    # --- 4 references -----------------------------------------------------------------------------------------------------

    def references(self, upto: int | None = None) -> Pieces:
        """Pictures like `heads`, made sharp; and `landmarks` (T, 68, 2) in them.

        Args:
            upto: as of `heads`.
        """
        o, tools, heads = self.options, self.tools, self.heads(upto)
        pieces = self.pieces(
            "references", digest(heads.key, tools.print_of("gpen", "parser", "retinaface"), tools.generate is None)
        )
        scale = o.head_size / SIDE
        title = "4/6 references (GPEN)" if tools.generate else "4/6 references"
        for start, pictures in pieces.made_from(heads.pictures(), title, upto=upto):
            landmarks = (self.faces.landmarks[start : start + len(pictures)] + 0.5) * scale - 0.5
            known = [k for k, picture in enumerate(pictures) if picture.size]
            if known and tools.generate is not None:
                given = [pictures[k] for k in known]
                found = (
                    [tools.detectors.faces(p) for p in given] if tools.detectors else [known_face(landmarks[k]) for k in known]
                )
                for k, picture in zip(known, enhance(given, found, tools.generate, tools.parse or ovals), strict=True):
                    pictures[k] = picture
            if known and tools.detectors is not None:  # which are shown blue before red here, as in the authors' program
                landmarks[known] = tools.detectors.landmarks([np.ascontiguousarray(pictures[k][..., ::-1]) for k in known])
            pieces.write(start, {**packed(pictures), "landmarks": landmarks})
        return pieces

    # --- 5 speech ---------------------------------------------------------------------------------------------------------

    @cached_property
    def speech(self) -> Pieces:
        """Pictures (face_size, face_size, 3): the faces that say it; empty where there is no face. One for each output frame."""
        o, tools, references = self.options, self.tools, self.references(self.needed)
        told = [o.face_size, o.up_face, o.without_rl1, o.static, o.faithful, o.seed]
        prints = tools.print_of("lnet", "enet", "editor")
        key = digest(references.key, self.faces.boxes, self.speech_key, len(self.mels), prints, told)
        pieces = self.pieces("speech", key, len(self.mels), size=o.speech_batch * max(1, PIECE // o.speech_batch))
        take = self.paired(references)
        for start, pairs in pieces.made_from(self.shown(), "5/6 speech (LNet, ENet)", take):
            painted = [NO_PICTURE] * len(pairs)
            for known in batches([k for k, pair in enumerate(pairs) if pair is not None], o.speech_batch):
                mels, given = [self.mels[start + k] for k in known], [pairs[k] for k in known]
                seeds = [noise_seed(o.seed, start + k) for k in known]
                for k, face in zip(
                    known, speak(tools.lnet, tools.enet, mels, given, seeds, tools.upper, o.faithful), strict=True
                ):
                    painted[k] = face
            pieces.write(start, packed(painted))
        return pieces

    def paired(self, references: Pieces) -> Callable[[int, Shown], Pair | None]:
        """`pair` that remembers its last answer, for a frame that is shown again and again."""
        last: tuple[int, Pair | None] = (-1, None)

        def take(number: int, shown: Shown) -> Pair | None:
            nonlocal last
            if shown.frame != last[0]:
                last = (shown.frame, self.pair(references, shown))
            return last[1]

        return take

    def pair(self, references: Pieces, shown: Shown) -> Pair | None:
        """The face in a frame and its reference; None where there is no face."""
        frame, faces = shown.frame, self.faces
        if not faces.painted[frame]:
            return None
        landmarks = references.at(frame, "landmarks")
        if not np.isfinite(landmarks).all():
            landmarks = (faces.landmarks[frame] + 0.5) * self.options.head_size / SIDE - 0.5
        redrawn_frame = with_head(shown.picture, faces.regions[frame], references.picture(frame), landmarks)
        return face_pair(shown.picture, redrawn_frame, faces.boxes[frame], self.options.face_size)

    # --- 6 frames ---------------------------------------------------------------------------------------------------------

    def frames(self) -> Iterator[Frame]:
        """The frames, each when it is ready. What depends on this speech is forgotten when the last one has been taken."""
        tools, speech = self.tools, self.speech
        key = digest(
            speech.key, tools.print_of("gfpgan", "parser", "retinaface", "restoration_retinaface"), tools.restore is None
        )
        pieces = self.pieces("frames", key, len(self.mels), size=PIECE // 2)
        todo = {start for start in pieces.starts if not pieces.path(start).is_file()}
        log.info("6/6 frames: %d of %d frames to do", sum(len(pieces.span(start)) for start in todo), len(self.mels))
        with tqdm(desc="6/6 frames", total=len(self.mels), unit="frame", leave=False, disable=None) as bar:
            for start, shown in pieces.grouped(self.shown()):
                if start in todo:
                    pieces.write(start, as_arrays(self.patches(shown, speech)))
                for frame in shown:
                    note = self.faces.notes[frame.frame]
                    left, top = pieces.at(frame.number, "corners")
                    patch = Patch(int(left), int(top), pieces.picture(frame.number))
                    yield Frame(frame.picture if note else patch.put_on(frame.picture), note)
                    bar.update()
        for step in (speech, pieces):
            step.remove()

    def patches(self, shown: Sequence[Shown], speech: Pieces) -> list[Patch]:
        """What each frame is changed by; an empty patch where there is no face."""
        faces, tools = self.faces, self.tools
        known = [k for k, frame in enumerate(shown) if faces.painted[frame.frame]]
        painted = [speech.picture(shown[k].number) for k in known]
        if tools.detectors is not None:
            assert tools.restore is not None and tools.parse is not None
            done = []
            for k, face in zip(known, painted, strict=True):
                frame, box = shown[k].picture, faces.boxes[shown[k].frame]
                done.append(Patch(0, 0, as_authors(frame, face, box, tools.detectors, tools.restore, tools.parse)))
        else:
            done = []
            for part in batches([*zip(known, painted, strict=True)], AT_ONCE.get(self.device, 1)):  # large faces need much memory
                places = [(shown[k].picture, face, shown[k].frame) for k, face in part]
                spots = [put_down(picture, face, faces.boxes[t], faces.frame_landmarks(t)) for picture, face, t in places]
                done += seamless(spots, tools.restore, tools.parse)
        patches = [Patch(0, 0, NO_PICTURE)] * len(shown)
        for k, patch in zip(known, done, strict=True):
            patches[k] = patch
        return patches

    def pieces(self, step: str, key: str, count: int | None = None, size: int = PIECE) -> Pieces:
        """Where a step's results are kept; the video's frames by default."""
        if (step, key) not in self._pieces:
            frames = len(self.faces.notes) if count is None else count
            self._pieces[step, key] = Pieces(step, key, frames, size, self.options.fresh)
        return self._pieces[step, key]


def noise_seed(seed: int, frame: int) -> int:
    """The seed of a frame's noise: 32 bits, all that torch's generator on the CPU looks at."""
    return int(np.random.SeedSequence((seed, frame)).generate_state(1)[0])


def as_arrays(patches: Sequence[Patch]) -> dict[str, Any]:
    """Patches as a piece holds them."""
    return {**packed([patch.picture for patch in patches]), "corners": np.array([(p.left, p.top) for p in patches], np.int64)}
