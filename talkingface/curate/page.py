"""curation.html: what was kept, what was left out and why, and what was measured; one file that opens offline."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from talkingface import __version__
from talkingface.config import flat_dict
from talkingface.curate.base import FPS
from talkingface.curate.rows import Row
from talkingface.curate.run import Curated
from talkingface.errors import TalkingFaceError
from talkingface.media.files import atomic
from talkingface.media.video import Video
from talkingface.page import TEMPLATE as REPORT
from talkingface.page import data_uri, preview
from talkingface.report import plain

TEMPLATE = Path(__file__).with_name("page.html")
SHARED_ENDS = "// --- first screen ---"  # what stands before this in the report's page is its look, which ours is as well
MOMENTS, HEIGHT = 4, 96  # pictures of a strip; their height, pixels
SECONDS = 3.0  # of a kept clip that the page plays
BARS = 24


def write_page(path: Path, found: Curated, raw: Path, settings: Mapping[str, Any], samples: int) -> Path:
    """Write the page of a curation. Returns its path.

    Args:
        raw: the folder of the raw videos.
        settings: of the curation, nested.
        samples: clips that are shown of those that were kept, and of each reason.
    """
    data = json.dumps(plain(contents(found, raw, settings, samples)), ensure_ascii=False, allow_nan=False)
    safe = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    style, _, script = TEMPLATE.read_text(encoding="utf-8").partition("<script>")
    shell = REPORT.read_text(encoding="utf-8").partition(SHARED_ENDS)[0]
    own = style.partition("<style>")[2].strip()
    shell = shell.replace("</style>", own, 1).replace("__DATA__", safe)
    with atomic(path) as temporary:
        temporary.write_text(f"{shell}</script>\n<script>{script}", encoding="utf-8")
    return path


def contents(found: Curated, raw: Path, settings: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """All that the page shows, as plain values."""
    kept, out = found.kept, [row for row in found.rows if not row.kept]
    sources = len({row.source for row in found.rows})
    shown = spread(kept, samples) if any(row.sha256 for row in kept) else []
    return {
        "title": f"Training set {found.output.name}",
        "subtitle": f"{len(kept)} clips of {sources} raw videos in {raw.name}; talkingface {__version__}",
        "facts": list(facts(found, out)),
        "reasons": [reason(name, out, raw, samples) for name in found.reasons],
        "kept": [card(row, found.output) for row in shown],
        "shown": f"{len(shown)} of {len(kept)} clips, the first {SECONDS:g} s of each, with sound" if shown else "",
        "figures": list(figures(found)),
        "settings": [[f"curate.{key}", json.dumps(value, ensure_ascii=False)] for key, value in flat_dict(settings).items()],
    }


def facts(found: Curated, out: Sequence[Row]) -> Iterator[dict[str, str]]:
    """The first screen."""
    kept = found.kept
    splits = [f"{sum(split in row.split.split() for row in kept)} {split}" for split in ("train", "val", "test")]
    yield {"title": "clips", "value": str(len(kept)), "more": ", ".join(splits) if any(row.split for row in kept) else ""}
    yield {"title": "minutes", "value": f"{found.seconds / 60:.1f}", "more": f"{found.seconds / max(1, len(kept)):.1f} s a clip"}
    yield {"title": "speakers", "value": str(len({row.speaker for row in kept})), "more": ""}
    seconds = sum((row.frames or 0) / FPS for row in out)
    yield {"title": "left out", "value": str(len(out)), "more": f"{seconds / 60:.1f} minutes"}
    moved = sum(bool(row.shift) for row in kept)
    yield {"title": "sound moved", "value": str(moved), "more": "clips that were out of sync"}


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """So many rows, evenly drawn."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def reason(name: str, out: Sequence[Row], raw: Path, samples: int) -> dict[str, Any]:
    """One reason with its count and samples."""
    rows = [row for row in out if f"{row.step}: {row.reason}" == name]
    shown = [{"name": row.clip or row.source, "text": row.text, "picture": strip(row, raw)} for row in spread(rows, samples)]
    return {"step": rows[0].step, "reason": rows[0].reason, "count": len(rows), "samples": shown}


def strip(row: Row, raw: Path) -> str | None:
    """Four moments of what was left out, side by side; None where nothing can be shown."""
    try:
        start = row.start or 0.0
        stop = Video(raw / row.source).duration if row.stop is None else row.stop
        moments = [start + (stop - start) * (k + 0.5) / MOMENTS for k in range(MOMENTS)]
        pictures = [next(iter(Video(raw / row.source, FPS, start=moment))) for moment in moments]
    except (TalkingFaceError, StopIteration):
        return None
    if row.crop is not None:
        x1, y1, x2, y2 = row.crop
        pictures = [picture[y1:y2, x1:x2] for picture in pictures]
    height, width = pictures[0].shape[:2]
    size = (max(1, round(HEIGHT * width / height)), HEIGHT)
    wide = np.concatenate([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures], axis=1)
    return data_uri("image/jpeg", cv2.imencode(".jpg", wide[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())


def card(row: Row, output: Path) -> dict[str, Any]:
    """A kept clip."""
    words = [f"sound {abs(row.shift)} frames {'later' if row.shift > 0 else 'earlier'}"] if row.shift else []
    title = f"{(row.frames or 0) / FPS:.1f} s{', ' if row.split else ''}{row.split}"
    words += [f"{name} {value:.3g}" for name, value in row.figures.items() if name != "offset"]
    film = preview({"path": str(output / f"{row.clip}.mp4")}, row.clip, SECONDS, sound=True)
    return {"name": row.clip, "title": title, "text": ", ".join(words), "film": film or {}}


def figures(found: Curated) -> Iterator[dict[str, Any]]:
    """The distribution of each figure over clips that were kept and left out, and what decides."""
    for name in dict.fromkeys(name for row in found.rows for name in row.figures):
        kept, out = (
            [row.figures[name] for row in found.rows if name in row.figures and row.kept == wanted] for wanted in (True, False)
        )
        low, high = min(kept + out), max(kept + out)
        limit = found.limits.get(name)
        limits = [value for value in (limit.low, limit.high) if value is not None] if limit else []
        low, high = min([low, *limits]), max([high, *limits])
        edges = np.linspace(low, high if high > low else low + 1, BARS + 1)
        counts = {"kept": np.histogram(kept, edges)[0].tolist(), "out": np.histogram(out, edges)[0].tolist()}
        yield {"name": name, "unit": limit.unit if limit else "", "low": edges[0], "high": edges[-1], "limits": limits, **counts}
