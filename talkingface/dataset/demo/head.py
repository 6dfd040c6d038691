"""Head: a speaker drawn frame by frame: the painted layers turned by the pose, then eyes and mouth on top."""

from __future__ import annotations

import cv2
import numpy as np

from talkingface.dataset.demo import face_shape as shape
from talkingface.dataset.demo.look import Look
from talkingface.dataset.demo.paint import LEFT, TOP, Canvas, body_layer, head_layer, wall

SUPERSAMPLING = 2
ORIGIN = (0.5, 0.425)  # where the point between the eyes rests, as a share of the picture


class Head:
    """One speaker, ready to be drawn in pictures of one size.

    Args:
        look: who.
        size: side of the square pictures, pixels.
    """

    def __init__(self, look: Look, size: int):
        self.look, self.size = look, size
        self.side = size * SUPERSAMPLING
        self.unit = look.scale * self.side
        self.origin = np.array(ORIGIN) * self.side
        self.per_unit = 1.05 * self.unit
        self.layer = head_layer(look, self.per_unit)
        self.body = body_layer(look, self.side, self.unit, tuple(self.origin))
        self.wall = wall(look, self.side)
        self.coarse = Canvas.of(0.4 * self.unit)
        x, y = self.coarse.x, self.coarse.y
        self.fields = np.stack([shape.depth(x, y, look), *shape.give(x, y)], axis=2).astype(np.float32)
        grid = (np.arange(0, self.side // 2, dtype=np.float32) * 2 + 1.0 - self.origin[:, None]) / self.unit
        self.grid = np.stack(np.meshgrid(grid[0], grid[1]), axis=2).astype(np.float32)
        self.resting = shape.still_landmarks(look)

    def draw(
        self, pose: np.ndarray, shift: np.ndarray, mouth: np.ndarray, gaze: np.ndarray, lid: float, brow: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """One picture.

        Args:
            pose: yaw, pitch, roll in degrees.
            shift: x, y in units.
            mouth: a row of `mouth_motion`.
            gaze: x, y in [-1, 1].
            lid: 1 open, 0 shut.
            brow: -1 lowered to 1 raised.

        Returns:
            frame (size, size, 3) uint8 RGB, and its 68 iBUG landmarks (68, 2) float32 in pixels; (0, 0) is the middle of
            the top left pixel.
        """
        lips = shape.mouth(self.look, mouth)
        turn = Turn(self, rotation(*pose), shift, lips.jaw, float(mouth[1]), brow)
        frame = over(self.wall, self.moved_body(pose, shift))
        frame = over(frame, turn.head())
        points = [turn.points(self.resting, soft=True)]
        for side in (-1, 1):
            points.append(self.draw_eye(frame, turn, side, gaze, lid))
        self.draw_mouth(frame, turn, lips, mouth)
        points.append(turn.points(lips.landmarks))
        frame = cv2.resize(frame, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return frame, (np.concatenate(points) / SUPERSAMPLING - 0.5).astype(np.float32)

    def moved_body(self, pose: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """The shoulders follow the head a little."""
        move = 0.35 * np.asarray(shift) * self.unit
        lean = np.tan(np.radians(0.25 * pose[2]))
        matrix = np.array([[1.0, lean, move[0] - lean * self.side], [0.0, 1.0, move[1]]])
        return cv2.warpAffine(self.body, matrix, (self.side, self.side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def draw_eye(self, frame: np.ndarray, turn: Turn, side: int, gaze: np.ndarray, lid: float) -> np.ndarray:
        """Eyeball, iris, lids and lashes; returns the six landmarks in fine pixels."""
        upper, lower, center = shape.eye(self.look, side, lid)
        radius = 0.105 * self.look.eye_size**0.6
        middle = center + gaze * (0.055, 0.03) + (0, -0.012)
        circle = np.stack([np.cos(CIRCLE), np.sin(CIRCLE)], axis=1) * radius
        parts = [
            upper,
            lower,
            middle + circle,
            middle + circle * 0.80,
            middle + circle * 0.42,
            middle + circle * 0.24 + np.array([0.3 * np.sign(self.look.light[0]), -0.42]) * radius,
            upper + (0, 0.035),
            upper * (1, 1) - (0, 0.055 * lid + 0.01),
        ]
        upper, lower, rim, iris, pupil, glint, shadow, crease = turn.many(parts)
        almond = np.concatenate([upper, lower[::-1]])
        skin = np.array(self.look.skin)
        with Patch(frame, almond, margin=10) as patch:
            if lid > 0.08:
                eye = np.empty_like(patch.pixels)
                eye[:] = (236, 232, 228)
                iris_color = np.array(self.look.iris)
                fill(eye, rim, iris_color * 0.45, patch)
                fill(eye, iris, iris_color, patch)
                fill(eye, iris * 0.5 + iris.mean(axis=0) * 0.5 + (0, 0.022 * self.unit), np.clip(iris_color * 1.45, 0, 1), patch)
                fill(eye, pupil, (0.04, 0.03, 0.03), patch)
                fill(eye, glint, (0.98, 0.98, 0.98), patch)
                dim = np.full(eye.shape[:2], 255, np.uint8)
                fill(dim, np.concatenate([upper - (0, 4), shadow[::-1]]), 0.66, patch)
                eye = cv2.multiply(eye, cv2.merge([cv2.GaussianBlur(dim, (0, 0), 1.2)] * 3), scale=1 / 255)
                patch.blend(eye, patch.mask(almond))
            stroke(patch, crease, skin * (0.62, 0.52, 0.48), 1.0, 0.55 * max(lid, 0.0))
            stroke(patch, lower, skin * (0.60, 0.46, 0.42), 0.9, 0.6)
            stroke(patch, upper, (0.09, 0.06, 0.06), 2.2 if self.look.kind == "woman" else 1.7, 0.95)
        corners = [0, 8, 16, 24, 16, 8]
        edges = (upper, upper, upper, upper, lower, lower)
        return np.stack([edge[i] for edge, i in zip(edges, corners, strict=True)])

    def draw_mouth(self, frame: np.ndarray, turn: Turn, lips: shape.Mouth, state: np.ndarray) -> None:
        """Lips with light on them; between them the dark, teeth and tongue."""
        upper, inner_upper, inner_lower, lower = turn.many([lips.upper, lips.inner_upper, lips.inner_lower, lips.lower])
        color, unit = np.array(self.look.lips), self.unit
        with Patch(frame, np.concatenate([upper, lower]), margin=8) as patch:
            skin = patch.pixels.copy()
            fill(skin, np.concatenate([upper, inner_lower[::-1]]), color * 0.84, patch)
            fill(skin, np.concatenate([inner_upper, lower[::-1]]), color, patch)
            fill(skin, np.concatenate([inner_lower, (0.25 * inner_lower + 0.75 * lower)[::-1]]), color * 1.06, patch)
            soft = cv2.GaussianBlur(skin, (0, 0), 0.012 * unit)
            full = patch.mask(np.concatenate([upper, lower[::-1]]))
            patch.blend(soft, cv2.GaussianBlur(full, (0, 0), 0.010 * unit))
            ridge = 0.52 * inner_lower + 0.48 * lower
            stroke(patch, ridge[13:28], np.clip(color * 1.12 + 0.16, 0, 1), 0.032 * unit, 0.50, blur=0.020 * unit)
            stroke(patch, lower[10:31] + (0, 0.012 * unit), np.array(self.look.skin) * (0.55, 0.42, 0.38), 1.6, 0.35, blur=0.8)
            seam = 0.5 * (inner_upper + inner_lower)
            stroke(patch, seam[2:-2], color * (0.38, 0.26, 0.28), 1.6, 0.9, blur=0.5)
            inner = np.concatenate([inner_upper[3:-3], inner_lower[3:-3][::-1]])
            apart = float((lips.inner_lower - lips.inner_upper)[:, 1].max())
            if apart > 0.006:
                mask = patch.mask(inner) * min(1.0, apart / 0.03)
                patch.blend(self.mouth_inside(patch, turn, lips, state), mask)

    def mouth_inside(self, patch: Patch, turn: Turn, lips: shape.Mouth, state: np.ndarray) -> np.ndarray:
        """What is seen between the lips: (h, w, 3) uint8."""
        x = np.linspace(-1, 1, 17)
        half = 0.30 * self.look.mouth_width
        ends = np.stack([x * half, np.zeros(17)], axis=1)
        biting = shape.MOUTH_Y + 0.035 - 0.045 * x**2
        high = ends + np.stack([0 * x, np.full(17, shape.MOUTH_Y - 0.16)], axis=1)
        edge = ends + np.stack([0 * x, biting], axis=1)
        low = ends * 0.86 + np.stack([0 * x, shape.MOUTH_Y + 0.075 + lips.jaw * 0.95 + 0.03 * x**2], axis=1)
        root = low + (0, 0.2)
        tongue_y = shape.MOUTH_Y + 0.10 + lips.jaw * 0.9 - 0.17 * state[4] * min(1.0, 4 * lips.jaw / shape.JAW_DROP)
        angle = np.linspace(0, 2 * np.pi, 33)[:-1]
        tongue = np.stack([0.22 * np.cos(angle), tongue_y + 0.10 * np.sin(angle) + 0.05], axis=1)
        high, edge, low, root, tongue, gaps = turn.many([high, edge, low, root, tongue, edge[2:-2:2]])
        inside = np.empty_like(patch.pixels)
        inside[:] = (58, 20, 22)
        fill(inside, tongue, (0.66, 0.30, 0.30), patch)
        inside = cv2.GaussianBlur(inside, (0, 0), 0.03 * self.unit)
        fill(inside, np.concatenate([low, root[::-1]]), (0.76, 0.72, 0.66), patch)
        fill(inside, np.concatenate([high, edge[::-1]]), (0.93, 0.91, 0.86), patch)
        for gap in gaps:
            line = np.stack([gap - (0, 0.10 * self.unit), gap])
            cv2.polylines(inside, [patch.fixed(line)], False, (196, 186, 176), 1, cv2.LINE_AA, FIXED)
        shade = np.full(inside.shape[:2], 255, np.uint8)
        inner_upper, center = turn.many([lips.inner_upper, np.array([[0.0, shape.MOUTH_Y]])])
        cv2.polylines(shade, [patch.fixed(inner_upper)], False, 120, max(1, int(0.05 * self.unit)), cv2.LINE_AA, FIXED)
        shade = cv2.GaussianBlur(shade, (0, 0), 0.02 * self.unit).astype(np.float32)
        column = (np.arange(inside.shape[1]) + patch.left - center[0, 0]) / (half * self.unit)
        shade *= np.clip(1.08 - 0.5 * np.abs(column) ** 2.2, 0.35, 1.0)[None] * (1 - 0.55 * max(0.0, -float(state[1])))
        return np.round(inside * (shade[..., None] / 255)).astype(np.uint8)


class Turn:
    """From a point of a speaker's face to the picture and back, for one pose.

    The face is deformed (jaw, brows, corners of the mouth), turned, and seen from far away.
    """

    def __init__(self, head: Head, matrix: np.ndarray, shift: np.ndarray, jaw: float, spread: float, brow: float):
        self.owner, self.matrix, self.shift = head, matrix, np.asarray(shift)
        self.give = np.array([[0, 0, 0.055 * spread], [jaw, -0.06 * brow, 0]], np.float32)

    def points(self, points: np.ndarray, soft: bool = False) -> np.ndarray:
        """Fine pixels (n, 2) of points on the face (n, 2); `soft` ones follow jaw, brows and mouth corners."""
        place = ((points - (LEFT, TOP)) * self.owner.coarse.per_unit - 0.5).astype(np.float32)[:, None]
        fields = sampled(self.owner.fields, place)[:, 0]
        if soft:
            points = points + fields[:, 1:] @ self.give.T
        seen = points @ self.matrix[:2, :2].T + fields[:, :1] * self.matrix[:2, 2] + self.shift
        return seen * self.owner.unit + self.owner.origin

    def many(self, parts: list[np.ndarray]) -> list[np.ndarray]:
        """`points` of several curves at once."""
        return np.split(self.points(np.concatenate(parts)), np.cumsum([len(p) for p in parts])[:-1])

    def head(self) -> np.ndarray:
        """The painted head, turned: RGBA. Each pixel looks for the point of the face it shows, in three steps."""
        owner = self.owner
        back = np.linalg.inv(self.matrix[:2, :2])
        flat = cv2.transform(owner.grid, np.column_stack([back, -back @ self.shift]).astype(np.float32))
        slide = np.column_stack([back @ self.matrix[:2, 2], self.give]).astype(np.float32)
        scale, corner = owner.coarse.per_unit, np.array([LEFT, TOP], np.float32)
        where = flat - 0.6 * slide[:, 0]
        for _ in range(3):
            fields = sampled(owner.fields, (where - corner) * scale - 0.5)
            where = flat - cv2.transform(fields, slide)
        place = cv2.resize((where - corner) * owner.per_unit - 0.5, (owner.side, owner.side), interpolation=cv2.INTER_LINEAR)
        return sampled(owner.layer, place, cv2.BORDER_CONSTANT)


def sampled(picture: np.ndarray, where: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """A picture's values at points (h, w, 2) float32 given in its pixels: (h, w, channels)."""
    return cv2.remap(picture, where, None, cv2.INTER_LINEAR, borderMode=border)  # type: ignore[call-overload]


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Degrees -> (3, 3): turn to the picture's right, then down, then clockwise."""
    a, b, c = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    lean = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return lean @ nod @ turn


CIRCLE = np.linspace(0, 2 * np.pi, 25)[:-1]
FIXED = 4  # bits after the point in OpenCV's coordinates


class Patch:
    """The part of a picture around some points, drawn on and written back."""

    def __init__(self, frame: np.ndarray, points: np.ndarray, margin: int):
        height, width = frame.shape[:2]
        self.left, self.top = (int(v) for v in np.clip(np.floor(points.min(axis=0)) - margin, 0, (width - 2, height - 2)))
        right, bottom = (
            int(v) for v in np.clip(np.ceil(points.max(axis=0)) + margin, (self.left + 1, self.top + 1), (width, height))
        )
        self.frame, self.place = frame, (slice(self.top, bottom), slice(self.left, right))
        self.pixels = np.ascontiguousarray(frame[self.place])

    def __enter__(self) -> Patch:
        return self

    def __exit__(self, *_: object) -> None:
        self.frame[self.place] = self.pixels

    def fixed(self, points: np.ndarray) -> np.ndarray:
        """Points of the picture as OpenCV's fixed-point coordinates in the patch."""
        return np.round((points - (self.left + 0.5, self.top + 0.5)) * 2**FIXED).astype(np.int32)

    def mask(self, polygon: np.ndarray) -> np.ndarray:
        """Opacity (h, w) uint8 of a filled polygon."""
        mask = np.zeros(self.pixels.shape[:2], np.uint8)
        cv2.fillPoly(mask, [self.fixed(polygon)], 255, cv2.LINE_AA, FIXED)
        return mask

    def blend(self, picture: np.ndarray, mask: np.ndarray) -> None:
        """Lay a picture over the patch where the mask says so."""
        opacity = mask[..., None].astype(np.float32) / 255
        self.pixels = (self.pixels + (picture - self.pixels.astype(np.float32)) * opacity + 0.5).astype(np.uint8)


def fill(picture: np.ndarray, polygon: np.ndarray, color: np.ndarray | tuple[float, ...] | float, patch: Patch) -> None:
    """Fill a polygon with a color of 0 to 1."""
    values = np.clip(np.atleast_1d(color) * 255, 0, 255)
    cv2.fillPoly(picture, [patch.fixed(polygon)], tuple(float(round(v)) for v in values), cv2.LINE_AA, FIXED)


def stroke(
    patch: Patch, line: np.ndarray, color: np.ndarray | tuple[float, ...], width: float, strength: float, blur: float = 0.0
) -> None:
    """Draw a soft line of some width in fine pixels."""
    mask: np.ndarray = np.zeros(patch.pixels.shape[:2], np.uint8)
    whole = max(1, round(width))
    value = min(255, round(255 * strength * min(1.0, width / whole + 0.15)))
    cv2.polylines(mask, [patch.fixed(line)], False, float(value), whole, cv2.LINE_AA, FIXED)
    if blur:
        mask = cv2.GaussianBlur(mask, (0, 0), blur)
    patch.blend(np.broadcast_to(np.clip(np.asarray(color) * 255, 0, 255), patch.pixels.shape), mask)


def over(picture: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """A premultiplied RGBA layer over a picture of its size."""
    r, g, b, opacity = cv2.split(layer)
    through = cv2.bitwise_not(opacity)
    return cv2.add(cv2.multiply(picture, cv2.merge([through] * 3), scale=1 / 255), cv2.merge([r, g, b]))
