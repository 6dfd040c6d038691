"""`talkingface puppet`: new characters of pictures, their points found, given or placed by hand on a local page."""

import http.client
import json
import shutil
import threading
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from talkingface.cli import main
from talkingface.errors import FaceError, MediaError
from talkingface.face.editor import PointEditor
from talkingface.face.finder import FaceFinder
from talkingface.face.points import read_points, write_points
from talkingface.media.image import read_image, read_layer
from talkingface.media.video import Video
from talkingface.model.makeittalk import puppet
from talkingface.model.makeittalk.new_puppet import new_puppet
from talkingface.model.makeittalk.puppet import is_puppet, read_puppet, standard_points

TABLES = (puppet.OPEN, puppet.NORMAL, puppet.CLOSED, puppet.SCALE_SHIFT, puppet.TRIANGLES)
FILES_ONLY = FaceFinder(detector="files")


def open_points():
    """Points of a face with an open mouth in a picture of 320 x 240."""
    points = standard_points(320, 240)
    points[[65, 66, 67, 56, 57, 58], 1] += 5
    return points


@pytest.fixture
def picture(tmp_path):
    image = np.zeros((240, 320, 4), np.uint8)
    cv2.circle(image, (160, 120), 100, (40, 160, 220, 255), -1)
    path = tmp_path / "my face.png"
    cv2.imwrite(str(path), image)
    return path


@pytest.fixture
def points_file(tmp_path):
    path = tmp_path / "points.txt"
    write_points(path, open_points())
    return path


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_all_that_a_character_needs(picture, points_file, tmp_path, capsys):
    sea = tmp_path / "sea.png"
    cv2.imwrite(str(sea), np.full((8, 8, 3), 200, np.uint8))
    folder = tmp_path / "characters"
    arguments = ["puppet", str(picture), "--landmarks", str(points_file), "--folder", str(folder), "--background", str(sea)]
    assert main([*arguments, "--json", "--face.detector=files"]) == 0
    made = json.loads(capsys.readouterr().out)
    character = folder / "my face.png"
    assert made["picture"] == str(character) and is_puppet(character)
    assert {path.name for path in folder.iterdir()} == {
        "my face.png", "my face_bg.png", "my face_anno.png", "my face_preview.mp4", *(f"my face_{table}.txt" for table in TABLES),
    }  # fmt: skip
    found = read_puppet(character)
    assert len(found.triangles) > 140 and found.picture.shape == (240, 320, 4) and (found.background == 200).all()
    assert np.allclose(found.open_mouth, open_points(), atol=1e-4)
    frames = Video(folder / "my face_preview.mp4").read()
    assert len(frames) == 50 and np.abs(frames[0].astype(int) - frames[8]).max() > 50
    assert np.abs(frames[:, :4, :4].astype(int) - 200).max() < 8
    assert not np.array_equal(read_image(folder / "my face_anno.png"), read_image(character))


def test_a_character_without_outer_lips_and_without_preview(picture, points_file, capsys):
    assert main(["puppet", str(picture), "--landmarks", str(points_file), "--inner_lip", "--preview=false"]) == 0
    assert "--face='" in capsys.readouterr().out.splitlines()[-1]
    found = read_puppet(picture)
    assert 116 < len(found.triangles) <= 122 and found.layout.kept == puppet.WITHOUT_OUTER_LIP
    assert not picture.with_name("my face_preview.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ([], 2, "one picture"),
        (["nowhere.png"], 3, "nowhere.png"),
        (["PICTURE"], 3, "--edit"),
        (["PICTURE", "--edit=perhaps"], 2, "true or false"),
        (["PICTURE", "--landmarks=nowhere.txt"], 3, "nowhere.txt"),
        (["PICTURE", "--landmarks=POINTS", "--background=POINTS"], 3, "points.txt"),
    ],
)
def test_mistakes_are_named(picture, points_file, capsys, arguments, code, named):
    real = {"PICTURE": str(picture), "POINTS": str(points_file)}
    typed = [word.replace("POINTS", real["POINTS"]).replace("PICTURE", real["PICTURE"]) for word in arguments]
    assert main(["puppet", *typed, "--face.detector=files"]) == code
    assert named in capsys.readouterr().err


def test_points_outside_of_the_picture_are_refused(picture, points_file):
    write_points(points_file, open_points() + [120, 0])
    with pytest.raises(FaceError, match=r"point \d+ .* outside of its 320 x 240"):
        new_puppet(picture, FILES_ONLY, points_file)


def test_a_video_is_no_character(tmp_path, points_file):
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    with pytest.raises(MediaError, match="no picture"):
        new_puppet(tmp_path / "a.mp4", FILES_ONLY, points_file)


def test_a_face_is_found_in_a_drawing(real_data, tmp_path):
    drawing = Path(shutil.copy(real_data / "puppets" / "cartoonM.png", tmp_path))  # without the points beside it
    made = new_puppet(drawing, FaceFinder(detector="dlib"), folder=tmp_path / "new", preview=False)
    published, ours = (read_puppet(path) for path in (real_data / "puppets" / "cartoonM.png", made.picture))
    assert made.files and not (tmp_path / "new" / "cartoonM_anno.png").exists()
    assert np.abs(ours.open_mouth[17:68] - published.open_mouth[17:68]).mean() < 25


# --- files ------------------------------------------------------------------------------------------------------------


def test_points_are_read_in_all_formats(tmp_path):
    points = open_points()
    rows = [f"{x} {y}" for x, y in points]
    (tmp_path / "a.pts").write_text("\n".join(["version: 1", "n_points: 68", "{", *rows, "}"]))
    (tmp_path / "a.csv").write_text("\n".join(row.replace(" ", ", ") for row in rows))
    (tmp_path / "a.txt").write_text("\n\n".join(f"{row} 1.0" for row in rows))
    np.savez(tmp_path / "a.landmarks.npz", landmarks=points[None])
    for name in ("a.pts", "a.csv", "a.txt", "a.landmarks.npz"):
        assert np.allclose(read_points(tmp_path / name)[:, :2], points, atol=1e-4), name


@pytest.mark.parametrize("text", ["1 2\n" * 60, "1 2 3 4\n" * 68, "one two\n" * 68, "1 2\n1\n" * 34, "nan 1\n" * 68])
def test_what_is_no_face_is_refused(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(FaceError, match=r"a\.txt"):
        read_points(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("table", "text", "named"),
    [
        (puppet.TRIANGLES, "0 1 2\n3 4 90\n", "91 points; expected 80"),
        (puppet.TRIANGLES, "0 1\n", "three indices"),
        (puppet.TRIANGLES, "", "three indices"),
        (puppet.TRIANGLES, "0 1 2.5\n", "no index"),
        (puppet.OPEN, "1 2 1\n" * 67, "67 points"),
        (puppet.CLOSED, "1 2\n" * 68, "without depth"),
        (puppet.SCALE_SHIFT, "1 2\n", "2 numbers"),
        (puppet.SCALE_SHIFT, "0 1 2\n", "not 0"),
    ],
)
def test_tables_of_the_wrong_size_are_named(picture, points_file, table, text, named):
    new_puppet(picture, FILES_ONLY, points_file, preview=False)
    picture.with_name(f"my face_{table}.txt").write_text(text)
    with pytest.raises(FaceError, match=named):
        read_puppet(picture)


def test_a_picture_keeps_what_is_transparent(picture):
    layer = read_layer(picture)
    assert layer.shape == (240, 320, 4) and layer[0, 0, 3] == 0 and layer[120, 160].tolist() == [220, 160, 40, 255]


# --- the page ---------------------------------------------------------------------------------------------------------


class Visitor:
    """What a browser does, and what others try."""

    def __init__(self, url):
        self.host, self.path = urlsplit(url).netloc, urlsplit(url).path

    def ask(self, name="", method="GET", body=None, path=None, **headers):
        connection = http.client.HTTPConnection(self.host, timeout=5)
        connection.request(method, (path or self.path) + name, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer

    def send(self, name, content, **headers):
        own = {"Origin": f"http://{self.host}", "Content-Type": "application/json", **headers}
        return self.ask(name, "POST", content if isinstance(content, str) else json.dumps(content), **own)[:2]


@pytest.fixture
def visited(picture):
    """Run an editor in a thread: (visitor, saved points, the editor's answer)."""
    saved, answers, ready = [], [], threading.Event()
    editor = PointEditor(picture, open_points(), saved.append)
    thread = threading.Thread(target=lambda: answers.append(editor.run(lambda url: ready.set())), daemon=True)
    thread.start()
    assert ready.wait(5)
    yield Visitor(editor.url), saved, answers
    editor.done.set()
    thread.join(5)
    assert not thread.is_alive()


def test_points_are_placed_on_the_page_and_saved(visited):
    visitor, saved, _ = visited
    state = json.loads(visitor.ask("state.json")[1])
    assert (state["width"], state["height"], len(state["points"])) == (320, 240, 68)
    assert visitor.ask("picture.png")[1].startswith(b"\x89PNG")
    points = state["points"]
    points[8] = [80.5, 500]
    assert visitor.send("save", {"points": points})[0] == 200
    assert saved[0].shape == (68, 2) and saved[0][8].tolist() == [80.5, 239]  # kept in the picture


def test_the_page_asks_for_nothing_from_elsewhere(visited):
    visitor, *_ = visited
    status, page, answer = visitor.ask()
    text = page.decode().replace("http://www.w3.org/2000/svg", "")
    assert status == 200 and "://" not in text and "{nonce}" not in text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_nobody_else_sees_or_writes_points(visited):
    visitor, saved, _ = visited
    points = {"points": open_points().tolist()}
    assert visitor.ask("state.json", path="/")[0] == 404
    assert visitor.ask("state.json", path="/guess/")[0] == 404
    assert visitor.ask("state.json", Host="evil.example")[0] == 404
    assert visitor.ask("../../etc/passwd")[0] == 404
    assert visitor.send("save", points, Origin="http://evil.example")[0] == 403
    assert visitor.send("save", points, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert visitor.send("save", points, **{"Content-Type": "text/plain"})[0] == 403
    assert visitor.send("delete", points)[0] == 403
    assert visitor.ask("save", "PUT", "{}")[0] == 501
    assert visitor.send("save", "x" * 70_000)[0] == 413
    assert not saved


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"points": 3}', '{"points": [[1, 2]]}', '{"points": [["a", 2]]}', '{"points": null}']
)
def test_what_is_no_face_is_not_saved(visited, content):
    visitor, saved, answers = visited
    status, text = visitor.send("save", content)
    assert status == 422 and b"page sent" in text and not saved and not answers


def test_an_error_of_saving_is_shown_on_the_page(picture):
    def refuse(points):
        raise FaceError("the disk is full")

    editor = PointEditor(picture, open_points(), refuse)
    answers = []

    def visit(url):
        answers.append(Visitor(url).send("save", {"points": open_points().tolist()}))
        answers.append(Visitor(url).send("close", {}))

    assert editor.run(visit) is False
    assert answers == [(422, b"the disk is full"), (200, b"ok")]


def test_a_character_is_made_on_the_page(picture, monkeypatch, capsys):
    def visit(address):
        state = json.loads(Visitor(address).ask("state.json")[1])
        points = np.array(state["points"])
        points[[65, 66, 67], 1] += 4
        assert Visitor(address).send("save", {"points": points.tolist()})[0] == 200

    monkeypatch.setattr("webbrowser.open", visit)
    folder = picture.parent / "characters"
    command = ["puppet", str(picture), "--edit", f"--folder={folder}", "--preview=false", "--face.detector=files"]
    assert main(command) == 0
    assert is_puppet(folder / picture.name) and "127.0.0.1" in capsys.readouterr().err
    first = read_puppet(folder / picture.name).open_mouth
    assert np.allclose(first[65:68, 1], standard_points(320, 240)[65:68, 1] + 4, atol=0.02)
    assert main(command) == 0  # goes on with what was saved
    assert np.allclose(read_puppet(folder / picture.name).open_mouth[65:68, 1], first[65:68, 1] + 4, atol=0.02)


def test_a_page_closed_without_saving_writes_nothing(picture, monkeypatch, capsys):
    monkeypatch.setattr("webbrowser.open", lambda address: Visitor(address).send("close", {}))
    assert main(["puppet", str(picture), "--edit", "--face.detector=files"]) == 0
    assert "nothing was written" in capsys.readouterr().out and not is_puppet(picture)
