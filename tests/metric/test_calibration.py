"""The calibration table of docs/scores.md holds: our values are those of the table, and so are the other implementations'."""

from pathlib import Path

import numpy as np
import piq
import pytest
import torch
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from talkingface.metric import quality, similarity

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scores.md"
PHOTOS = {"A": data.astronaut, "C": data.coffee}


def rows():
    """The rows of the table: metric, input, ours, other, by, tolerance."""
    lines = PAGE.read_text(encoding="utf-8").partition("| metric | input |")[2].splitlines()[2:]
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def photo(name):
    return np.ascontiguousarray(PHOTOS[name]()[:384, :384])


def noisy(picture):
    noise = np.random.default_rng(0).normal(0, 20, picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def tensor(picture):
    return torch.from_numpy(picture).permute(2, 0, 1)[None].double()


OURS = {
    "SSIM": lambda ours, real: similarity.ssim(ours, real),
    "PSNR": lambda ours, real: similarity.psnr(ours, real),
    "MS-SSIM": lambda ours, real: similarity.ms_ssim(ours, real),
    "CPBD": lambda ours, real: quality.cpbd(quality.luma(real)),
}
OTHERS = {
    "SSIM": lambda ours, real: structural_similarity(
        ours, real, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    ),
    "PSNR": lambda ours, real: peak_signal_noise_ratio(real, ours, data_range=255),
    "MS-SSIM": lambda ours, real: float(piq.multi_scale_ssim(tensor(ours), tensor(real), data_range=255.0)),
}


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: f"{row[0]} of {row[1]}")
def test_the_table_is_what_is_measured(row):
    metric, name, ours, other, by, tolerance = row
    real = photo(name[0])
    pair = noisy(real), real
    assert OURS[metric](*pair) == pytest.approx(float(ours), rel=1e-4)
    assert float(ours) == pytest.approx(float(other), abs=max(float(tolerance), 2e-6))
    if "once" not in by:
        assert OTHERS[metric](*pair) == pytest.approx(OURS[metric](*pair), abs=float(tolerance))
        assert OTHERS[metric](*pair) == pytest.approx(float(other), rel=1e-4)


def test_the_table_has_rows():
    assert len(list(rows())) >= 7
