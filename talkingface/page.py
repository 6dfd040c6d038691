"""The report as one HTML file: opens offline, asks for nothing, plays generated, real and driving clips in lockstep."""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from talkingface.compare import Comparison
from talkingface.errors import TalkingFaceError
from talkingface.media.files import atomic
from talkingface.media.video import Video, write_video
from talkingface.metric.base import Column
from talkingface.report import REAL, Report, Row, plain

log = logging.getLogger(__name__)

SIDE, QUALITY = 256, 30  # pixels of a preview's longer side; CRF of its H.264
TEMPLATE = Path(__file__).with_name("page.html")
FILMS = {"video": "generated", "truth": "real", "driving": "driving"}


def write_page(path: Path, reports: Mapping[str, Report], clips: int = 12, seconds: float = 10.0) -> Path:
    """Write one report, or several beside each other, as a page. Returns the path.

    Args:
        reports: label -> report; the first one's clips are shown.
        clips: how many, the worst first.
        seconds: of each clip that the page holds, from its beginning.
    """
    comparison = Comparison(reports) if len(reports) > 1 else None
    data = json.dumps(plain(contents(reports, comparison, clips, seconds)), ensure_ascii=False, allow_nan=False)
    safe = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    with atomic(path) as temporary:
        temporary.write_text(TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", safe), encoding="utf-8")
    return path


def contents(reports: Mapping[str, Report], comparison: Comparison | None, clips: int, seconds: float) -> dict[str, Any]:
    """All that the page shows, as plain values."""
    first = next(iter(reports.values()))
    names = [name for name in first.columns if name in first.means]
    order = deciding(first, names)
    worst = ranked(first, order)[:clips]
    made_by = f"talkingface {first.environment.get('talkingface', '')}"
    title = " and ".join(dict.fromkeys(f"{report.model or label}" for label, report in reports.items()))
    return {
        "title": f"{title} on {first.dataset}" if first.dataset else title,
        "subtitle": f"{len(first.clips)} clips, {first.failures} with errors; {made_by}",
        "scores": [] if comparison else list(headlines(first, names, worst)),
        "verdicts": [{"text": verdict["text"], "good": verdict["separates"]} for verdict in first.verdicts if told(verdict)],
        "remarks": [f"{metric} not scored: {reason}" for metric, reason in first.not_scored.items()] + first.notes,
        "comparison": compared(comparison) if comparison else None,
        "clips": [
            card(row, first, reports, names, seconds) for row in tqdm(worst, desc="page", unit="clip", leave=False, disable=None)
        ],
        "orders": [f"worst {name} first" for name in order] + ["in the order of the list"],
        "shown": f"{len(worst)} of {len(first.clips)} clips" if len(worst) < len(first.clips) else f"all {len(worst)} clips",
        "plots": list(plots(reports, names)),
        "controls": controls(first),
        "failures": [f"{row.name}: {row.error}" for row in first.clips if row.error],
        "protocols": [[metric, print_of(first, metric), in_words(first.protocol[metric])] for metric in first.protocol],
        "settings": [[key, json.dumps(e["value"], ensure_ascii=False), e["origin"]] for key, e in first.config.items()],
        "environment": [[name, value] for name, value in first.environment.items()],
    }


def deciding(report: Report, names: Sequence[str]) -> list[str]:
    """The columns that clips can be ordered by."""
    return [name for name in names if report.columns[name].higher_is_better is not None]


def told(verdict: Mapping[str, Any]) -> bool:
    """Whether a verdict says more than that there are too few clips."""
    return verdict["separates"] or verdict["clips"] >= 5


def rank(row: Row, name: str, column: Column) -> float | None:
    """The value of a clip, the worse the smaller; None where it has none."""
    value = row.scores.get(name)
    return None if value is None else value if column.higher_is_better else -value


def ranked(report: Report, order: Sequence[str]) -> list[Row]:
    """The clips, the worst in the first column first; those without a value come before all."""
    if not order:
        return report.clips
    ranks = {row.name: rank(row, order[0], report.columns[order[0]]) for row in report.clips}
    return sorted(report.clips, key=lambda row: -math.inf if (value := ranks[row.name]) is None else value)


def headlines(report: Report, names: Sequence[str], shown: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """The mean of each column, how sure it is, that of the real videos, and the worst clip."""
    real = report.controls.get(REAL, {})
    places = {row.name: index for index, row in enumerate(report.clips)}
    for name in names:
        column, found = report.columns[name], report.intervals[name]
        scored = [row for row in shown if name in row.scores] if column.higher_is_better is not None else []
        worst = min(scored, key=lambda row: rank(row, name, column) or 0.0, default=None)
        lowest = worst and {"name": worst.name, "index": places[worst.name], "value": worst.scores[name]}
        title = f"{name} {column.arrow}".strip()
        means = {"mean": found.mean, "low": found.low, "high": found.high, "real": real.get(name)}
        yield {"title": title, **means, "worst": lowest}
    for name, value in report.of_set.items():
        title = f"{name} {report.columns[name].arrow}".strip()
        yield {"title": title, "mean": value, "low": None, "high": None, "real": None, "worst": None}


def card(row: Row, report: Report, reports: Mapping[str, Report], names: Sequence[str], seconds: float) -> dict[str, Any]:
    """One clip with its videos and curves."""
    details = next((row.details[metric] for metric in row.details if "tracks" in row.details[metric]), None)
    track = details["tracks"][0] if details and details["tracks"] else {}
    own = {name: row.scores[name] for name in names if name in row.scores}
    return {
        "index": report.clips.index(row),
        "name": row.name,
        "numbers": ", ".join(f"{name} {value:.4g}" for name, value in own.items()),
        "ranks": [rank(row, name, report.columns[name]) for name in deciding(report, names)],
        "films": [film for film in films(row, reports, seconds) if film is not None],
        "curve": track.get("curve"),
        "means": track.get("means"),
        "offset": track.get("offset"),
        "error": row.error,
        "texts": [f"{metric}: {note}" for metric, notes in row.notes.items() for note in notes],
    }


def films(row: Row, reports: Mapping[str, Report], seconds: float) -> Iterator[dict[str, Any] | None]:
    """The previews of a clip: generated (by each run that has it), real, driving."""
    if len(reports) == 1:
        for kind, label in FILMS.items():
            yield preview(row.files.get(kind), label, seconds, sound=kind == "video")
        return
    for number, (label, report) in enumerate(reports.items()):
        other = next((one for one in report.clips if one.name == row.name), None)
        yield preview(other.files.get("video") if other else None, label, seconds, sound=number == 0)
    yield preview(row.files.get("truth"), FILMS["truth"], seconds, sound=False)


def preview(file: Mapping[str, str] | None, label: str, seconds: float, sound: bool) -> dict[str, Any] | None:
    """A small copy of a video inside the page, with its first frame as the picture that stands for it; None without a file."""
    if file is None:
        return None
    try:
        video = Video(file["path"], stop=seconds)
        scale = min(1.0, SIDE / max(video.width, video.height))
        size = (max(2, round(video.width * scale)), max(2, round(video.height * scale)))
        frames = (cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in video)
        first = next(frames)
        poster = data_uri("image/jpeg", cv2.imencode(".jpg", first[..., ::-1])[1].tobytes())
        if video.is_still:
            return {"label": label, "poster": poster, "video": None}
        with tempfile.TemporaryDirectory(prefix="talkingface-page-") as folder:
            path = Path(folder) / "preview.mp4"
            audio = heard(video, seconds) if sound else None
            write_video(path, chained(first, islice(frames, math.ceil(seconds * video.fps))), video.fps, audio=audio, crf=QUALITY)
            return {"label": label, "poster": poster, "video": data_uri("video/mp4", path.read_bytes())}
    except (TalkingFaceError, StopIteration) as error:
        log.warning("the page shows no preview of %s: %s", file["path"], error)
        return {"label": f"{label}: cannot be shown", "poster": None, "video": None}


def heard(video: Video, seconds: float) -> np.ndarray | None:
    """The sound of the preview: (N,) at 16 kHz."""
    from talkingface.media.audio import load_audio

    return load_audio(video.path)[: round(seconds * 16_000)] if video.has_audio else None


def chained(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The first frame, then the others."""
    yield first
    yield from rest


def data_uri(kind: str, content: bytes) -> str:
    """A file inside a page."""
    text = io.StringIO()
    text.write(f"data:{kind};base64,")
    text.write(base64.b64encode(content).decode("ascii"))
    return text.getvalue()


def plots(reports: Mapping[str, Report], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The values of all clips of each column, of each run and of the controls."""
    first = next(iter(reports.values()))
    for name in names:
        rows = [strip(label if len(reports) > 1 else "generated", report, name) for label, report in reports.items()]
        if len(reports) == 1:
            rows += [
                strip(control, Report(clips=found, columns=first.columns), name) for control, found in first.control_rows.items()
            ]
        rows = [row for row in rows if row["values"]]
        title = f"{name} {first.columns[name].arrow}".strip()
        yield {"title": title, "rows": rows, "all": [value for row in rows for value in row["values"]]}


def strip(label: str, report: Report, name: str) -> dict[str, Any]:
    """One line of a plot."""
    values = report.values(name)
    if not values:
        return {"label": label, "values": []}
    found = report.intervals[name]
    return {"label": label, "values": values, "mean": found.mean, "low": found.low, "high": found.high}


def controls(report: Report) -> dict[str, Any]:
    """The means of the generated videos and of all controls, and the verdicts."""
    names = [name for name in report.columns if any(name in means for means in report.controls.values())]
    rows = [["generated", *(report.means.get(name) for name in names)]] if report.controls else []
    rows += [[control, *(means.get(name) for name in names)] for control, means in report.controls.items()]
    header = ["", *(f"{name} {report.columns[name].arrow}".strip() for name in names)]
    return {"header": header, "rows": rows, "texts": [verdict["text"] for verdict in report.verdicts]}


def compared(comparison: Comparison) -> dict[str, Any]:
    """The leaderboard, the tests and what keeps values apart."""
    header = ["run", *(measure.title for measure in comparison.measures)]
    rows = [[label, *(comparison.value(label, measure) for measure in comparison.measures)] for label in comparison.order]
    texts = [test["text"] for test in comparison.tests] + comparison.warnings
    return {"header": header, "rows": rows, "texts": texts}


def print_of(report: Report, metric: str) -> str:
    """The fingerprint of a metric's protocol."""
    return next((report.fingerprints[name] for name in report.metrics.get(metric, ()) if name in report.fingerprints), "")


def in_words(protocol: Mapping[str, Any]) -> str:
    """A protocol in one line."""
    return ", ".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in protocol.items() if key != "version")
