"""S3FD: both variants, decoding and suppression."""

import numpy as np
import pytest
import torch

from talkingface.face import s3fd
from talkingface.face.s3fd import FaceAlignmentS3FD, SyncNetS3FD, best_box, priors, suppress

VARIANTS = [FaceAlignmentS3FD, SyncNetS3FD]


@pytest.fixture(scope="module", params=VARIANTS)
def detector(request):
    """A variant with seeded weights that sees faces in noise."""
    torch.manual_seed(0)
    net = request.param().eval()
    for parameter in net.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    with torch.no_grad():
        for head in net.heads()[1]:
            head.weight.mul_(0.2)
    return net


def noise(count, height=64, width=96):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_as_large_as_the_published_one(variant):
    with torch.device("meta"):
        net = variant()
    assert sum(p.numel() for p in net.parameters()) == 22_459_110
    assert len(net.state_dict()) == 65


def test_variants_are_one_network_under_two_names():
    with torch.device("meta"):
        shapes = [sorted(tuple(p.shape) for p in variant().parameters()) for variant in VARIANTS]
    assert shapes[0] == shapes[1]


def test_a_batch_finds_what_single_images_show(detector):
    images = noise(3)
    together = detector.detect(images, threshold=0.3)
    alone = [detector.detect([image], threshold=0.3)[0] for image in images]
    assert sum(map(len, together)) > 0
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-2)


def test_images_of_several_sizes_are_searched_in_bounded_batches(detector, monkeypatch):
    monkeypatch.setattr(s3fd, "PIXELS_AT_ONCE", 2 * 64 * 96)
    images = [*noise(3), *noise(1, 48, 80), *noise(2)]
    assert [len(batch) for batch in detector._batches(images)] == [2, 1, 1, 2]
    assert len(detector.detect(images)) == 6


def test_faces_are_sorted_and_above_the_threshold(detector):
    for faces in detector.detect(noise(2), threshold=0.4):
        assert faces.shape[1] == 5 and (faces[:, 4] > 0.4).all()
        assert (np.diff(faces[:, 4]) <= 0).all()


def test_no_images_no_faces(detector):
    assert detector.detect([]) == []
    assert detector.detect(noise(1), threshold=1.0)[0].shape == (0, 5)


def test_a_tiny_image_is_searched_too(detector):
    for height, width in ((1, 1), (20, 90), (100, 33)):
        assert len(detector.detect(noise(2, height, width))) == 2


def test_boxes_are_in_pixels_of_the_image_at_every_scale():
    torch.manual_seed(0)
    net = SyncNetS3FD().eval()
    image = noise(1, 65, 130)[0]  # a quarter is 16.25 x 32.5 pixels: 16 x 32 are searched
    net.candidates = lambda pictures, min_score: [np.array([[0, 0, pictures.shape[3], pictures.shape[2], 1]], np.float32)]
    np.testing.assert_allclose(net.detect([image])[0][0, :4], [0, 0, 130, 65])


def test_best_box_is_cut_to_integers():
    assert best_box(np.zeros((0, 5), np.float32)) is None
    assert best_box(np.array([[-3.5, 2.9, 10.99, 20.0, 0.9], [0, 0, 1, 1, 0.8]], np.float32)) == (0, 2, 10, 20)


def naive_suppress(faces, overlap, one):
    """The usual double loop."""
    kept = []
    for i, a in enumerate(faces):
        for k in kept:
            b = faces[k]
            w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + one)
            h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + one)
            union = sum((c[2] - c[0] + one) * (c[3] - c[1] + one) for c in (a, b)) - w * h
            if w * h / union > overlap:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("pixel_boxes", [False, True])
def test_suppression_equals_the_double_loop(pixel_boxes):
    random = np.random.default_rng(1)
    corner, size = random.uniform(0, 60, (200, 2)), random.uniform(4, 30, (200, 2))
    faces = np.concatenate((corner, corner + size, -np.sort(-random.random((200, 1)), axis=0)), axis=1).astype(np.float32)
    kept = suppress(faces, 0.3, pixel_boxes)
    assert 1 < len(kept) < 200
    assert kept.tolist() == naive_suppress(faces.astype(float), 0.3, float(pixel_boxes))


def test_the_pixel_convention_decides_about_small_boxes():
    faces = np.array([[0, 0, 2, 2, 0.9], [1, 1, 3, 3, 0.8]], np.float32)  # overlap 1/7 without, 4/14 with the convention
    assert suppress(faces, 0.2, pixel_boxes=False).tolist() == [0, 1]
    assert suppress(faces, 0.2, pixel_boxes=True).tolist() == [0]


def test_priors_are_centered_on_cells():
    cells = priors(2, 3, stride=8)
    assert cells.shape == (2, 3, 4)
    assert cells[1, 2].tolist() == [20, 12, 32, 32]
