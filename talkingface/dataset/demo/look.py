"""Look: what tells one drawn head from another: build, skin, hair, eyes, clothes, light. And Speaker: a look and a voice.

Lengths are in units of half a face's width; the origin is between the eyes, x to the picture's right, y down, z to us.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from talkingface.dataset.demo.voice import Voice

Color = tuple[float, float, float]  # RGB, 0 to 1

SKINS: tuple[Color, ...] = (
    (0.96, 0.80, 0.71),
    (0.91, 0.72, 0.60),
    (0.85, 0.64, 0.50),
    (0.76, 0.54, 0.40),
    (0.65, 0.44, 0.32),
    (0.53, 0.355, 0.26),
)
HAIRS: tuple[Color, ...] = (
    (0.10, 0.08, 0.08),
    (0.22, 0.14, 0.09),
    (0.38, 0.24, 0.13),
    (0.62, 0.45, 0.24),
    (0.50, 0.22, 0.10),
    (0.55, 0.53, 0.52),
)
IRISES: tuple[Color, ...] = ((0.30, 0.18, 0.10), (0.24, 0.38, 0.50), (0.30, 0.42, 0.26), (0.42, 0.28, 0.14))
CLOTHES: tuple[Color, ...] = (
    (0.20, 0.36, 0.52),
    (0.62, 0.24, 0.24),
    (0.24, 0.46, 0.38),
    (0.85, 0.80, 0.70),
    (0.36, 0.28, 0.46),
    (0.22, 0.24, 0.28),
    (0.80, 0.55, 0.22),
)
WALLS: tuple[Color, ...] = (
    (0.62, 0.70, 0.76),
    (0.78, 0.72, 0.64),
    (0.58, 0.66, 0.58),
    (0.72, 0.66, 0.74),
    (0.50, 0.56, 0.64),
    (0.82, 0.80, 0.76),
)
KINDS = ("woman", "man", "child")
STYLES = {
    "woman": ("long", "bob", "bun", "fringe", "curly"),
    "man": ("short", "parted", "crew", "bald", "curly"),
    "child": ("fringe", "short", "bob", "parted"),
}


@dataclass(frozen=True)
class Look:
    """Appearance of a speaker; widths and heights are factors on an average face unless a unit is given."""

    kind: str
    skin: Color
    lips: Color
    hair: Color
    style: str
    iris: Color
    clothes: Color
    collar: str
    wall: Color
    beard: float  # 0 none to 1 full
    glasses: bool
    freckles: float
    jaw_width: float
    chin: float
    eye_size: float
    eye_apart: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lip_fullness: float
    brow_height: float
    brow_weight: float
    light: tuple[float, float, float]  # direction to the lamp
    scale: float  # half a face's width as a share of the picture's
    texture_seed: int


@dataclass(frozen=True)
class Speaker:
    """Someone of the demo world.

    Attributes:
        name: such as "speaker_03".
        look: how they look.
        voice: how they sound.
        seed: of all that they do.
    """

    name: str
    look: Look
    voice: Voice
    seed: int


def make_speaker(index: int, seed: int = 2020) -> Speaker:
    """The index-th speaker of a world; neighbors differ in kind, skin, hair and voice."""
    rng = np.random.default_rng([seed, 101, index])
    kind = ("woman", "man", "woman", "man", "child")[index % 5]
    turn = index + seed
    skin = SKINS[(turn * 5 + turn // 6) % len(SKINS)]
    dark = sum(skin) < 1.75
    hair = HAIRS[int(rng.integers(0, 2 if dark else len(HAIRS) - (kind == "child")))]
    style = STYLES[kind][(turn // 2) % len(STYLES[kind])]
    look = Look(
        kind=kind,
        skin=skin,
        lips=lip_color(skin, kind),
        hair=hair,
        style=style,
        iris=IRISES[0 if dark else int(rng.integers(len(IRISES)))],
        clothes=CLOTHES[(turn * 3) % len(CLOTHES)],
        collar=("crew", "vee", "shirt")[turn % 3],
        wall=WALLS[(turn * 5 + 1) % len(WALLS)],
        beard=float(rng.choice([0.0, 0.25, 0.8])) if kind == "man" else 0.0,
        glasses=bool(rng.random() < 0.2),
        freckles=float(rng.random() < 0.3) * (not dark),
        jaw_width={"woman": 0.96, "man": 1.05, "child": 0.97}[kind] * rng.uniform(0.97, 1.03),
        chin={"woman": 0.99, "man": 1.05, "child": 0.93}[kind] * rng.uniform(0.98, 1.02),
        eye_size={"woman": 1.06, "man": 0.95, "child": 1.15}[kind] * rng.uniform(0.96, 1.05),
        eye_apart=rng.uniform(0.97, 1.04),
        nose_width={"woman": 0.95, "man": 1.06, "child": 0.92}[kind] * rng.uniform(0.94, 1.1),
        nose_length={"woman": 0.98, "man": 1.03, "child": 0.9}[kind] * rng.uniform(0.97, 1.03),
        mouth_width=rng.uniform(0.96, 1.06),
        lip_fullness={"woman": 1.15, "man": 0.92, "child": 1.0}[kind] * rng.uniform(0.9, 1.15),
        brow_height=rng.uniform(0.95, 1.06),
        brow_weight={"woman": 0.85, "man": 1.25, "child": 0.75}[kind] * rng.uniform(0.9, 1.15),
        light=(float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.5)), float(rng.uniform(-0.55, -0.3)), 0.8),
        scale=rng.uniform(0.255, 0.27),
        texture_seed=int(rng.integers(2**31)),
    )
    voice = Voice(
        pitch={"woman": 205.0, "man": 115.0, "child": 270.0}[kind] * rng.uniform(0.88, 1.12),
        tract={"woman": 1.15, "man": 1.0, "child": 1.28}[kind] * rng.uniform(0.97, 1.04),
        breath={"woman": 0.16, "man": 0.08, "child": 0.14}[kind] * rng.uniform(0.7, 1.3),
        melody=rng.uniform(2.0, 4.5),
        open_quotient=rng.uniform(0.5, 0.65),
    )
    return Speaker(f"speaker_{index:02d}", look, voice, seed)


def lip_color(skin: Color, kind: str) -> Color:
    """Redder and darker than the skin."""
    red = (0.70, 0.26, 0.29) if kind == "woman" else (0.62, 0.30, 0.29)
    share = {"woman": 0.62, "man": 0.55, "child": 0.55}[kind]
    r, g, b = ((1 - share) * s * 0.86 + share * c * (0.62 + 0.48 * skin[0]) for s, c in zip(skin, red, strict=True))
    return r, g, b
