"""Paint: what of a speaker's picture does not move by itself: wall, body, and the head without eyes and lips.

Layers are uint8 RGBA with the color already multiplied by its opacity. All shading comes from the relief and one lamp.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from talkingface.dataset.demo import face_shape as shape
from talkingface.dataset.demo.face_shape import hump, smoothstep
from talkingface.dataset.demo.look import Look

LEFT, TOP, RIGHT, BOTTOM = -1.85, -1.75, 1.85, 2.35  # what the head's layer covers, in units
FINER = 2  # layers are painted so many times finer, then reduced


@dataclass(frozen=True)
class Canvas:
    """A grid of points over [LEFT, RIGHT] x [TOP, BOTTOM] with `per_unit` pixels per unit."""

    per_unit: float
    x: np.ndarray
    y: np.ndarray

    @classmethod
    def of(cls, per_unit: float) -> Canvas:
        """A canvas whose pixel centers are at (i + 0.5) / per_unit from its left and top."""
        width, height = int((RIGHT - LEFT) * per_unit), int((BOTTOM - TOP) * per_unit)
        x, y = np.meshgrid(LEFT + (np.arange(width) + 0.5) / per_unit, TOP + (np.arange(height) + 0.5) / per_unit)
        return cls(per_unit, x, y)

    def polygon(self, points: np.ndarray, soft: float = 0.012) -> np.ndarray:
        """Opacity of a filled polygon with an edge as soft as `soft` units."""
        mask = np.zeros(self.x.shape, np.uint8)
        pixels = (points - (LEFT, TOP)) * self.per_unit - 0.5
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(soft * self.per_unit, 0.3))

    def noise(self, rng: np.random.Generator, size: float) -> np.ndarray:
        """Smooth noise around 0 of about unit strength; `size` is its grain in units."""
        cells = (int((BOTTOM - TOP) / size) + 3, int((RIGHT - LEFT) / size) + 3)
        return cv2.resize(rng.standard_normal(cells).astype(np.float32), self.x.shape[::-1], interpolation=cv2.INTER_CUBIC)


def lambert(z: np.ndarray, per_unit: float, light: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Brightness (about 0.4 to 1.1) and gloss (0 to 1) of a surface of height z under a lamp."""
    dy, dx = np.gradient(z, 1 / per_unit)
    length = np.sqrt(dx**2 + dy**2 + 1)
    lamp = np.array(light) / np.linalg.norm(light)
    facing = (-dx * lamp[0] - dy * lamp[1] + lamp[2]) / length
    half = lamp + (0, 0, 1)
    half /= np.linalg.norm(half)
    gloss = np.clip((-dx * half[0] - dy * half[1] + half[2]) / length, 0, 1) ** 28
    return 0.42 + 0.64 * np.clip(facing, 0, None) + 0.06 * facing, gloss


def lay(base: np.ndarray, opacity: np.ndarray, color: np.ndarray | tuple[float, float, float]) -> np.ndarray:
    """Color over a picture (H, W, 3), as opaque as `opacity` (H, W) says."""
    return base + (np.asarray(color, dtype=np.float32) - base) * opacity[..., None]


def head_layer(look: Look, per_unit: float) -> np.ndarray:
    """The head without eyeballs and lips: RGBA premultiplied."""
    rng = np.random.default_rng(look.texture_seed)
    canvas = Canvas.of(per_unit * FINER)
    x, y = canvas.x, canvas.y
    z = cv2.GaussianBlur(shape.relief(x, y, look).astype(np.float32), (0, 0), 0.021 * canvas.per_unit)
    bright, gloss = lambert(z, canvas.per_unit, look.light)
    face = canvas.polygon(shape.outline(look))
    ears = ear_layer(canvas, look)
    skin = skin_color(canvas, look, rng)
    curtain = hair_mask(canvas, look, rng)
    shade = cv2.GaussianBlur(curtain, (0, 0), 0.07 * canvas.per_unit)
    bright = bright * (1 - 0.28 * np.roll(shade, int(0.06 * canvas.per_unit), axis=0))
    lit = skin * tint(bright) + 0.10 * gloss[..., None] * (0.5 + 0.5 * np.array(look.skin))
    opacity = np.maximum(face, ears[1])
    color = np.where((face > ears[1])[..., None], lit, ears[0])
    color = lay(color, face, lit)
    color = features(canvas, look, color, rng)
    hair = hair_color(canvas, look, rng)
    color, opacity = lay(color, curtain, hair), np.maximum(opacity, curtain)
    if look.glasses:
        color = glasses(canvas, look, color)
    return packed(color, opacity)


def packed(color: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """RGBA premultiplied uint8, reduced by FINER."""
    fine = np.concatenate([np.clip(color, 0, 1) * opacity[..., None], opacity[..., None]], axis=2).astype(np.float32)
    height, width = fine.shape[0] // FINER, fine.shape[1] // FINER
    layer = cv2.resize(fine[: height * FINER, : width * FINER], (width, height), interpolation=cv2.INTER_AREA)
    return np.round(layer * 255).astype(np.uint8)


def tint(bright: np.ndarray) -> np.ndarray:
    """Light on skin: shadows are warmer than lit parts."""
    dark = np.clip(1 - bright, 0, 1)[..., None]
    return bright[..., None] * (1 + dark * np.array([0.16, -0.02, -0.10]))


def skin_color(canvas: Canvas, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Skin before light: redder cheeks and nose, mottling, freckles, stubble and beard."""
    x, y = canvas.x, canvas.y
    ax = np.abs(x)
    skin = np.broadcast_to(np.array(look.skin, np.float32), (*x.shape, 3)) * (1 + 0.012 * canvas.noise(rng, 0.05))[..., None]
    red = 0.55 * hump(ax, y, (0.55, 0.5), (0.2, 0.18))
    red = red + 0.4 * hump(x, y, (0, 0.5), (0.14, 0.1)) + 0.25 * hump(x, y, (0, 1.4), (0.2, 0.12))
    skin = skin * (1 + red[..., None] * np.array([0.03, -0.13, -0.10]))
    skin = skin * (1 - 0.10 * hump(ax, y, (0.42, 0.14), (0.16, 0.05)))[..., None]
    if look.freckles:
        spots = smoothstep(1.3, 2.0, canvas.noise(rng, 0.028)) * hump(ax, y, (0.35, 0.38), (0.32, 0.16))
        skin = skin * (1 - 0.25 * look.freckles * spots[..., None] * np.array([0.6, 1.0, 1.2]))
    if look.beard:
        grain = 0.75 + 0.25 * canvas.noise(rng, 0.022)
        low = smoothstep(0.55, 0.95, y + 0.35 * (ax > 0.78)) * (1 - 0.9 * hump(ax, y, (0.35, 0.62), (0.25, 0.18)))
        around = np.clip(low - 0.75 * hump(x, y, (0, shape.MOUTH_Y), (0.3, 0.08)), 0, 1)
        around = np.maximum(
            around, 0.9 * smoothstep(0.70, 0.78, y) * (y < shape.MOUTH_Y) * (ax < 0.5) * (1 - smoothstep(0.36, 0.48, ax))
        )
        skin = lay(skin, np.clip(around * look.beard * 0.85 * grain, 0, 0.95), np.array(look.hair) * 0.9)
    return skin


def features(canvas: Canvas, look: Look, color: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Nostrils, the shadow under nose and lip, brows, and the crease above each eye."""
    x, y = canvas.x, canvas.y
    ax, end = np.abs(x), shape.NOSE_Y * look.nose_length
    dark = np.array(look.skin) * (0.30, 0.20, 0.18)
    under = hump(x, y, (-0.05 * np.sign(look.light[0]), end + 0.085), (0.17 * look.nose_width, 0.035))
    color = lay(color, 0.34 * under, dark * 1.3)
    nostril = hump(ax, y + 0.25 * (ax - 0.085), (0.088 * look.nose_width, end + 0.028), (0.042, 0.02))
    color = lay(color, 0.85 * smoothstep(0.35, 0.9, nostril), dark)
    wing = np.exp(-0.5 * ((np.hypot(ax - 0.145 * look.nose_width, (y - end + 0.03) * 1.05) - 0.085) / 0.014) ** 2)
    color = lay(color, 0.30 * wing * (ax > 0.165 * look.nose_width) * smoothstep(-0.12, 0.0, y - end + 0.06), dark * 1.4)
    color = lay(color, 0.22 * hump(x, y, (0, shape.MOUTH_Y + 0.20), (0.19, 0.035)), dark * 1.6)
    color = lay(color, 0.16 * hump(ax, y, (shape.EYE_X, -0.13), (0.17, 0.03)), dark * 1.6)
    for side in (-1, 1):
        color = lay(color, brow_mask(canvas, look, side, rng), np.array(look.hair) * 0.75 + np.array(look.skin) * 0.08)
    return color


def brow_mask(canvas: Canvas, look: Look, side: int, rng: np.random.Generator) -> np.ndarray:
    """A brow: thick inside, thin outside, hairy."""
    points = shape.brow(look, side)
    points = points if side > 0 else points[::-1]
    at = np.linspace(0, 1, 21)
    middle = np.stack([np.interp(at, np.linspace(0, 1, 5), points[:, k]) for k in (0, 1)], axis=1)
    thick = 0.048 * look.brow_weight * np.interp(at, [0, 0.15, 0.6, 1], [0.75, 1.0, 0.85, 0.15])[:, None] * (0, 1)
    mask = canvas.polygon(np.concatenate([middle - thick * 0.8, (middle + thick)[::-1]]), soft=0.016)
    hairs = 0.85 + 0.15 * np.sin(canvas.x * side * 70 + canvas.y * 40) + 0.08 * canvas.noise(rng, 0.03)
    return np.clip(mask * hairs, 0, 1) * (0.92 if look.kind != "child" else 0.8)


def ear_layer(canvas: Canvas, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Both ears: color (H, W, 3) and opacity (H, W)."""
    ax, y = np.abs(canvas.x), canvas.y
    u, v = (ax - 1.03) / 0.135, (y - 0.18) / 0.275
    radius = np.hypot(u - 0.15 * v, v)
    opacity = 1 - smoothstep(0.93, 1.05, radius)
    bright = 0.78 + 0.16 * smoothstep(0.6, 0.8, radius) - 0.30 * hump(u, v, (-0.15, 0.1), (0.35, 0.4))
    bright = bright * (1 + 0.12 * np.sign(canvas.x) * np.sign(look.light[0]))
    return np.array(look.skin) * (1.0, 0.92, 0.90) * tint(bright), opacity


# style: top of the hair, its half width, hairline at the middle, its slope (a parting), where the sides end, waviness
STYLES = {
    "short": (-1.43, 1.10, -0.78, 0.0, 0.12, 0.012),
    "parted": (-1.46, 1.12, -0.72, 0.16, 0.14, 0.01),
    "crew": (-1.32, 1.05, -0.82, 0.0, 0.05, 0.004),
    "bald": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "curly": (-1.56, 1.30, -0.68, 0.0, 0.55, 0.035),
    "long": (-1.47, 1.24, -0.74, 0.10, 2.6, 0.012),
    "bob": (-1.46, 1.24, -0.70, -0.10, 1.15, 0.012),
    "bun": (-1.36, 1.08, -0.78, 0.0, 0.10, 0.005),
    "fringe": (-1.46, 1.18, -0.44, 0.0, 0.85, 0.012),
}


def hair_mask(canvas: Canvas, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Opacity of the hair that lies over the head."""
    x, y = canvas.x, canvas.y
    top, half, line, slope, end, wave = STYLES[look.style]
    if not half:
        return np.zeros_like(x)
    ax = np.abs(x)
    noise = canvas.noise(rng, 0.11 if look.style == "curly" else 0.16)
    skull = np.hypot(x / half, np.minimum(y + 0.1, 0) / (top + 0.1)) + wave * noise
    outer = 1 - smoothstep(0.985, 1.015, np.where(y < -0.1, skull, ax / half + wave * noise))
    outer = outer * (1 - smoothstep(end - 0.05, end + 0.03, y + 0.25 * wave * noise - 0.12 * (1.1 - ax)))
    sides = 1.15 * smoothstep(0.80, 1.0, ax) if end < 0.5 else 4.0 * smoothstep(0.84, 1.06, ax + 0.05 * smoothstep(-0.5, 0.6, y))
    hairline = line + slope * x + 0.30 * x**2 * (line < -0.6) + sides + 0.018 * noise
    mask = outer * (1 - smoothstep(-0.03, 0.03, y - hairline))
    if look.style == "bun":
        mask = np.maximum(mask, 1 - smoothstep(0.96, 1.04, np.hypot(x / 0.42, (y + 1.45) / 0.30)))
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.008 * canvas.per_unit)


def hair_color(canvas: Canvas, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Strands that fall from the crown, with a shine where the lamp hits the round of the head."""
    x, y = canvas.x, canvas.y
    parting = 0.35 * np.sign(STYLES[look.style][3])
    angle = np.arctan2(x - parting * (y < 0), y + 1.55) / np.pi
    grains = np.stack([cv2.GaussianBlur(rng.standard_normal((8, 640)).astype(np.float32), (0, 0), 1.0) for _ in range(2)])
    along = ((y + 1.8) * 1.6).astype(np.float32)
    strand = np.zeros_like(along)
    for grain, fine in zip(grains, (140.0, 310.0), strict=True):
        around = ((angle + 1) * fine).astype(np.float32)
        strand = strand + cv2.remap(grain, around, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    if look.style == "curly":
        strand = 0.2 * strand + 0.6 * np.abs(canvas.noise(rng, 0.12)) + 0.25 * canvas.noise(rng, 0.05) - 0.35
    round_ = np.sqrt(np.clip(1.05 - (x / 1.32) ** 2 - (np.minimum(y + 0.1, 0) / 1.6) ** 2, 0.02, None))
    bright, _ = lambert(0.95 * round_, canvas.per_unit, look.light)
    shine = np.exp(-0.5 * ((y + 0.98 - 0.25 * x**2 + 0.1 * look.light[0] * x) / 0.12) ** 2)
    glow = (bright * (0.88 + 0.30 * strand))[..., None] * np.array(look.hair)
    return glow + (shine * np.clip(0.6 + 0.9 * strand, 0, 2) * 0.11)[..., None] * (0.4 + np.array(look.hair))


def glasses(canvas: Canvas, look: Look, color: np.ndarray) -> np.ndarray:
    """Two thin rims and a bridge."""
    ax, y = np.abs(canvas.x), canvas.y
    rim = np.abs(np.hypot((ax - 0.45) / 1.12, y - 0.02) - 0.27)
    bridge = np.maximum(np.abs(y + 0.05 + 0.25 * (0.16 - ax)) * 1.0, (ax - 0.16) * 3)
    temple = np.maximum(np.abs(y + 0.06) * 1.0, np.maximum((0.74 - ax) * 3, (ax - 1.0) * 3))
    near = np.minimum(np.minimum(rim, bridge), temple)
    return lay(color, 0.92 * (1 - smoothstep(0.014, 0.03, near)), (0.16, 0.13, 0.13))


def body_layer(look: Look, side: int, unit: float, origin: tuple[float, float]) -> np.ndarray:
    """Neck, shoulders, clothes and the hair behind them: RGBA premultiplied, (side, side, 4), over the whole picture.

    Args:
        side: of the picture, pixels.
        unit: pixels per unit.
        origin: where the point between the eyes is at rest, pixels.
    """
    per_unit = unit * FINER
    px = (np.arange(side * FINER) + 0.5) / per_unit
    x, y = np.meshgrid(px - origin[0] / unit, px - origin[1] / unit)
    ax, lamp = np.abs(x), np.sign(look.light[0])
    child = look.kind == "child"
    neck_half = {"woman": 0.50, "man": 0.60, "child": 0.44}[look.kind]
    neck_edge = neck_half + 0.25 * smoothstep(1.5, 2.1, y)
    neck = 1 - smoothstep(-0.015, 0.015, ax - neck_edge)
    round_ = 0.55 + 0.42 * np.sqrt(np.clip(1 - (x / (neck_edge * 1.04)) ** 2, 0, 1)) + 0.10 * lamp * x / neck_half
    under = 1 - 0.52 * (1 - smoothstep(1.35, 1.92, y + 0.10 * x * lamp))
    cords = 1 - 0.06 * np.exp(-0.5 * ((ax - (0.34 - 0.28 * (y - 1.4))) / 0.03) ** 2)
    color = np.array(look.skin) * (0.98, 0.95, 0.93) * tint(round_ * under * cords)
    top = (1.80 if not child else 1.72) + 0.28 * np.clip(ax - neck_half, 0, None) ** 0.8
    top = top + {"crew": 0.16, "vee": 0.42, "shirt": 0.05}[look.collar] * (1 - smoothstep(0.0, neck_half + 0.1, ax))
    cloth = smoothstep(-0.015, 0.015, y - top) * (1 - smoothstep(-0.02, 0.02, ax - (1.75 + 0.5 * (y - 1.8))))
    folds = 0.80 + 0.10 * lamp * x + 0.05 * np.sin(5 * x + 3 * y + 2 * np.sin(2 * x)) - 0.10 * np.exp(-(((y - top) / 0.05) ** 2))
    color = lay(color, cloth, np.array(look.clothes) * folds[..., None])
    if look.collar == "shirt":
        flap = smoothstep(-0.015, 0.015, y - (1.62 + 0.55 * (0.62 - ax))) * smoothstep(1.55, 1.6, y)
        flap = flap * (1 - smoothstep(0.30, 0.33, y - 1.62 - 0.25 * (0.62 - ax)))
        flap = flap * (ax < 0.74) * smoothstep(0.02, 0.06, ax - 0.1 * (y - 1.8))
        lighter = np.clip(np.array(look.clothes) * 1.15 + 0.08, 0, 1)
        color, cloth = lay(color, flap, lighter * (folds + 0.1)[..., None]), np.maximum(cloth, flap)
    opacity = np.maximum(neck * smoothstep(0.3, 0.4, y), cloth)
    end = STYLES[look.style][4]
    if end > 0.5:
        back = (1 - smoothstep(-0.03, 0.03, ax - 1.12)) * (1 - smoothstep(end - 0.1, end, y)) * smoothstep(-0.3, -0.1, y)
        color = color * opacity[..., None] + np.array(look.hair) * 0.42 * (1 - opacity[..., None])
        opacity = np.maximum(opacity, back)
    return packed(color, opacity)


def wall(look: Look, side: int) -> np.ndarray:
    """A room out of focus: (side, side, 3) uint8."""
    rng = np.random.default_rng([look.texture_seed, 7])
    px = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(px, px)
    glow = 0.80 + 0.28 * np.exp(-((x - 0.5 - 0.5 * look.light[0]) ** 2 + (y - 0.25) ** 2) / 0.35)
    color = np.array(look.wall) * glow[..., None]
    for _ in range(4):
        spot = hump(x, y, tuple(rng.random(2)), (rng.uniform(0.05, 0.14),) * 2)
        color = lay(color, 0.22 * spot, rng.uniform(0.45, 1.0, 3))
    edge, width = rng.uniform(0.05, 0.95), rng.uniform(0.15, 0.4)
    panel = smoothstep(edge - 0.05, edge + 0.05, x) * (1 - smoothstep(edge + width, edge + width + 0.1, x))
    color = color * (1 - 0.10 * panel)[..., None]
    return np.round(np.clip(color, 0, 1) * 255).astype(np.uint8)
