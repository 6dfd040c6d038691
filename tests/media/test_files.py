import errno
import os

import pytest

from talkingface.errors import MediaError
from talkingface.media.files import atomic, cache_dir, content_hash, existing_file


def write(path, text="new"):
    with atomic(path) as temporary:
        temporary.write_text(text)


def test_a_file_appears_whole_and_alone(tmp_path):
    write(tmp_path / "deep" / "a file's “name” é.txt")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a file's “name” é.txt"]


def test_what_was_there_survives_a_failure(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="halfway"), atomic(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError("halfway")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "number, remedy",
    [(errno.ENOSPC, "Free some space"), (errno.EROFS, "another folder"), (errno.EACCES, "may not")],
)
def test_a_full_disk_is_named_with_path_cause_and_remedy(tmp_path, number, remedy):
    path = tmp_path / "a.txt"
    with pytest.raises(MediaError, match=remedy) as caught, atomic(path) as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert str(path) in str(caught.value) and os.strerror(number) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="a.txt cannot be written.*not a folder"):
        write(tmp_path / "file" / "a.txt")


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(MediaError, match="in the way"):
        write(tmp_path / "a.txt")


def test_errors_about_other_files_pass_through(tmp_path):
    with pytest.raises(PermissionError), atomic(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "denied", "/somewhere/else")


def test_the_cache_folder_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("TALKINGFACE_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("TALKINGFACE_CACHE")
    assert cache_dir().parts[-2:] == (".cache", "talkingface")


def test_the_hash_follows_the_content(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("same")
    second.write_text("same")
    assert content_hash(first) == content_hash(second) and len(content_hash(first)) == 32
    second.write_text("else!")
    assert content_hash(first) != content_hash(second)


@pytest.mark.parametrize(
    "make, cause",
    [(lambda path: None, "does not exist"), (lambda path: path.mkdir(), "folder"), (lambda path: path.touch(), "empty")],
)
def test_what_is_no_file_is_refused(tmp_path, make, cause):
    make(tmp_path / "x")
    with pytest.raises(MediaError, match=cause):
        existing_file(tmp_path / "x")
