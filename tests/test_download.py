"""Downloads, from a server on this machine: whole, broken, wrong, slow, redirected; and files that were fetched by hand."""

import hashlib
import io
import json
import logging
import tarfile
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml

from talkingface.cli import main
from talkingface.download import Downloader
from talkingface.errors import CheckpointError, ConfigError, DownloadError, MediaError, RegistryError
from talkingface.media.fetch import Limits, fetch
from talkingface.media.unpack import unpack
from talkingface.nn.sync_expert import SyncExpert
from talkingface.zoo import markdown, remedy, zoo

ROOT = Path(__file__).resolve().parent.parent
QUICK = Limits(seconds=0.3, attempts=3, pause=0.01)


def weights_file():
    """A small file of weights."""
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(2000.0)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


CONTENT = weights_file()
HASH = hashlib.sha256(CONTENT).hexdigest()


# --- the server -------------------------------------------------------------------------------------------------------


class Site(BaseHTTPRequestHandler):
    """Serves CONTENT in good and bad ways; the path says which."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        name = self.path.strip("/").partition("/")[0]
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.server.counts[name] += 1
        getattr(self, f"do_{name}", self.do_missing)()

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for key, value in {"Content-Length": len(body), "Connection": "close", **headers}.items():
            if value is not None:
                self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_whole(self):
        self.answer(200, {}, CONTENT)

    def do_missing(self):
        self.answer(404, {})

    def do_corrupted(self):
        self.answer(200, {}, CONTENT[:-100] + bytes(100))

    def do_truncated(self):
        self.answer(200, {"Content-Length": len(CONTENT)}, CONTENT[:3000])

    def do_unannounced(self):
        self.answer(200, {"Content-Length": None}, CONTENT)

    def do_page(self):
        self.answer(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Sign in</html>")

    def do_plainpage(self):
        self.answer(200, {"Content-Type": "application/octet-stream"}, b"<html>Sign in</html>" + bytes(500))

    def do_moved(self):
        self.answer(302, {"Location": "/whole/x.pth"})

    def do_circle(self):
        self.answer(302, {"Location": self.path})

    def do_downgrade(self):
        self.answer(302, {"Location": "file:///etc/hostname"})

    def do_busy(self):
        if self.server.counts["busy"] < 3:
            self.answer(503, {})
        else:
            self.do_whole()

    def do_silent(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000])
        self.wfile.flush()
        self.server.stop.wait(5)
        self.close_connection = True

    def do_endless(self):
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        block = bytes(1 << 20)
        try:
            while not self.server.stop.is_set():
                self.wfile.write(block)
        except OSError:
            self.close_connection = True

    def do_boasting(self):
        self.answer(200, {"Content-Length": 10**13}, CONTENT)

    def do_packed(self):
        self.answer(200, {"Content-Encoding": "gzip"}, CONTENT)

    def do_breaking(self, version='"v1"'):
        """Half of what is left, each time: it takes several attempts."""
        begin = self.asked_begin() if self.headers.get("If-Range") == version else 0
        rest = CONTENT[begin:]
        headers = {"ETag": version, "Content-Length": len(rest)}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}"
        part = rest if len(rest) < 3000 else rest[: len(rest) // 2]
        self.answer(206 if begin else 200, headers, part)

    def do_changing(self):
        self.do_breaking(version='"v1"' if self.server.counts["changing"] == 1 else '"v2"')

    def do_ignoring(self):
        """Breaks off at first, and then gives all of it whatever is asked for."""
        first = self.server.counts["ignoring"] == 1
        self.answer(200, {"ETag": '"v1"', "Content-Length": len(CONTENT)}, CONTENT[:4000] if first else CONTENT)

    def do_shrunk(self):
        """Says that it has less than has arrived."""
        if self.server.counts["shrunk"] == 2:
            self.answer(416, {})
        else:
            first = self.server.counts["shrunk"] == 1
            self.answer(200, {"ETag": '"v1"', "Content-Length": len(CONTENT)}, CONTENT[:4000] if first else CONTENT)

    def asked_begin(self):
        asked = self.headers.get("Range", "bytes=0-")
        return int(asked.removeprefix("bytes=").rstrip("-"))


@pytest.fixture(scope="module")
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    made.daemon_threads = True
    made.stop = threading.Event()
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.stop.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def site(server):
    """The address of the server, which has forgotten what it was asked."""
    server.asked, server.counts = [], Counter()
    server.address = f"http://127.0.0.1:{server.server_port}"
    return server


def get(site, name, path, limits=QUICK, check=lambda path: None):
    fetch(f"{site.address}/{name}/x.pth", path, check, limits)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


# --- fetching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["whole", "moved", "busy", "unannounced", "breaking", "changing", "ignoring", "shrunk"])
def test_a_file_arrives_whole_and_alone(site, tmp_path, name):
    get(site, name, tmp_path / "new" / "x.pth", QUICK._replace(attempts=12))
    assert (tmp_path / "new" / "x.pth").read_bytes() == CONTENT
    assert left_in(tmp_path / "new") == ["x.pth"]


def test_a_broken_connection_goes_on_where_it_broke(site, tmp_path):
    get(site, "breaking", tmp_path / "x.pth", QUICK._replace(attempts=12))
    begins = [int(asked[6:-1]) if asked else 0 for _, asked in site.asked]
    assert len(begins) > 2 and begins == sorted(set(begins)) and begins[0] == 0


def test_what_has_arrived_is_kept_for_the_next_time(site, tmp_path):
    with pytest.raises(DownloadError, match="in 2 attempts: the connection broke.*are kept"):
        get(site, "breaking", tmp_path / "x.pth", QUICK._replace(attempts=2))
    kept = (tmp_path / "x.pth.part").stat().st_size
    assert 0 < kept < len(CONTENT) and not (tmp_path / "x.pth").exists()
    site.asked.clear()
    get(site, "breaking", tmp_path / "x.pth", QUICK._replace(attempts=12))
    assert site.asked[0][1] == f"bytes={kept}-"
    assert (tmp_path / "x.pth").read_bytes() == CONTENT


def test_a_file_that_has_changed_meanwhile_is_begun_anew(site, tmp_path):
    get(site, "changing", tmp_path / "x.pth", QUICK._replace(attempts=12))
    assert (tmp_path / "x.pth").read_bytes() == CONTENT and site.asked[1][1]


def test_a_part_from_another_address_is_not_gone_on_with(site, tmp_path):
    with pytest.raises(DownloadError):
        get(site, "breaking", tmp_path / "x.pth", QUICK._replace(attempts=1))
    site.asked.clear()
    get(site, "whole", tmp_path / "x.pth")
    assert site.asked == [("/whole/x.pth", None)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("truncated", "connection broke"),
        ("silent", "the server is silent"),
        ("missing", "answers 404"),
        ("page", "web page"),
        ("circle", "without end"),
        ("downgrade", "leads from http to file"),
        ("endless", "at most 5 are expected"),
        ("boasting", "10000000 MB or more"),
        ("packed", "compressed"),
    ],
)
def test_a_bad_answer_is_one_error_and_no_file(site, tmp_path, name, words):
    with pytest.raises(DownloadError, match=words):
        get(site, name, tmp_path / "x.pth", QUICK._replace(attempts=2, megabytes=5))
    assert "x.pth" not in left_in(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 6e6


def test_no_server_is_told_as_such(tmp_path):
    with pytest.raises(DownloadError, match="is this machine online"):
        fetch("http://127.0.0.1:9/x.pth", tmp_path / "x.pth", lambda path: None, QUICK._replace(attempts=1))


@pytest.mark.parametrize("url", ["ftp://example.org/x", "data:text/plain,x", "javascript:x", "gopher://x/y"])
def test_other_kinds_of_addresses_are_refused(tmp_path, url):
    with pytest.raises(DownloadError, match="http, https and file"):
        fetch(url, tmp_path / "x.pth", lambda path: None)


def test_what_fails_its_check_is_removed(site, tmp_path):
    def check(path):
        assert path.read_bytes() == CONTENT
        raise DownloadError("another file")

    with pytest.raises(DownloadError, match="another file"):
        get(site, "whole", tmp_path / "x.pth", check=check)
    assert left_in(tmp_path) == []


def test_two_processes_do_not_fetch_the_same_file(site, tmp_path):
    def again(path):
        with pytest.raises(DownloadError, match="another process"):
            get(site, "whole", tmp_path / "x.pth")

    get(site, "whole", tmp_path / "x.pth", check=again)
    assert (tmp_path / "x.pth").read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_named(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="cannot be written"):
        get(site, "whole", tmp_path / "file" / "x.pth")


# --- the table --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path, site, monkeypatch):
    """A table of four small files, on the local server, and what downloads by it."""

    def entry(**more):
        return {"used_by": ["Toy"], "what": "a toy", "network": "toy", "page": "https://toys.example", "licence": "toy", **more}

    files = {
        "Toy/a.pth": entry(url=f"{site.address}/whole/a.pth", sha256=HASH[:10]),
        "Toy/b.pth": entry(url=f"{site.address}/whole/b.pth", licence="second"),
        "Toy/c.pth": entry(archive="toys.zip", optional=True, megabytes=1.5),
        "Other/d.pth": entry(used_by=["Other"], url=f"{site.address}/missing/d.pth"),
    }
    path = tmp_path / "zoo.yaml"
    path.write_text(yaml.safe_dump({"files": files, "licences": {"toy": "toys only", "second": "free"}}))

    def downloader(**settings):
        return Downloader(tmp_path / "weights", limits=QUICK, table=zoo(path), **settings)

    return downloader


def states(rows):
    return {Path(row.path).name: row.state for row in rows}


def test_a_models_files_are_fetched_once_and_remembered(small, site, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assert states(small().download("toy")) == {"a.pth": "fetched", "b.pth": "fetched", "c.pth": "by hand"}
    assert caplog.text.count("toys only") == 1 and caplog.text.count("free") == 1
    lock = json.loads((tmp_path / "weights" / "lock.json").read_text())
    assert lock["files"]["Toy/b.pth"] | {"seen": ""} == {
        "sha256": HASH, "bytes": len(CONTENT), "source": f"{site.address}/whole/b.pth", "seen": "",
    }  # fmt: skip
    site.asked.clear()
    caplog.clear()
    assert states(small().download("Toy")) == {"a.pth": "here", "b.pth": "here", "c.pth": "by hand"}
    assert site.asked == [] and caplog.text == ""


def test_a_licence_is_shown_once_also_where_the_file_is_removed(small, tmp_path, caplog):
    small().download("toy")
    (tmp_path / "weights" / "Toy" / "a.pth").unlink()
    caplog.clear()
    assert states(small().download("toy"))["a.pth"] == "fetched" and "toys only" not in caplog.text


def test_a_file_with_another_hash_than_published_is_refused(small, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "CONTENT", CONTENT[:-8] + bytes(8))
    row = small().download("toy")[0]
    assert row.state == "failed" and "not the published file" in row.detail and HASH[:10] in row.detail
    assert not (tmp_path / "weights" / "Toy" / "a.pth").exists()


def test_a_file_with_another_hash_than_at_first_is_refused(small, tmp_path, monkeypatch):
    small().download("toy")
    (tmp_path / "weights" / "Toy" / "b.pth").unlink()
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(5)}, buffer)
    monkeypatch.setitem(globals(), "CONTENT", buffer.getvalue())
    row = small().download("toy")[1]
    assert row.state == "failed" and "not the file that was first seen" in row.detail and "lock.json" in row.detail
    assert not (tmp_path / "weights" / "Toy" / "b.pth").exists()


def test_a_file_that_changes_on_this_disk_is_told(small, tmp_path):
    small().download("toy")
    (tmp_path / "weights" / "Toy" / "b.pth").write_bytes(b"changed")
    assert states(small().look("toy"))["b.pth"] == "failed"


def test_mirrors_are_asked_first_and_the_page_after_them(small, site, tmp_path):
    site.counts.clear()
    rows = small(mirrors=[f"{site.address}/missing/", f"{site.address}/whole"]).download("toy")
    assert states(rows) == {"a.pth": "fetched", "b.pth": "fetched", "c.pth": "fetched"}
    assert [path for path, _ in site.asked][:2] == ["/missing/Toy/a.pth", "/whole/Toy/a.pth"]


def test_a_mirror_may_be_a_folder_also_without_internet(small, site, tmp_path):
    mirror = tmp_path / "mirror" / "Toy"
    mirror.mkdir(parents=True)
    for name in "ab":
        (mirror / f"{name}.pth").write_bytes(CONTENT)
    rows = small(mirrors=[str(tmp_path / "mirror")], offline=True).download("toy")
    assert states(rows) == {"a.pth": "fetched", "b.pth": "fetched", "c.pth": "failed"} and site.asked == []


def test_offline_it_says_what_to_put_where(small, site, tmp_path):
    rows = small(offline=True).download("toy")
    assert {row.state for row in rows} == {"by hand"} and site.asked == []
    assert rows[0].detail == (
        f"Put a.pth (SHA-256 begins with {HASH[:10]}) from https://toys.example at {tmp_path}/weights/Toy/a.pth; or, after "
        "fetching it, `talkingface download Toy --from FILE_OR_FOLDER`."
    )
    assert "c.pth, which lies in toys.zip, (about 1.5 MB)" in rows[2].detail


def test_a_page_that_has_moved_is_told_with_what_to_do(small):
    row = small().download("other")[0]
    assert row.state == "failed" and "404" in row.detail and "Put d.pth" in row.detail


@pytest.mark.parametrize("name", ["plainpage", "corrupted"])
def test_an_answer_that_holds_no_weights_is_refused(small, site, tmp_path, name):
    row = small(mirrors=[f"{site.address}/{name}"]).download("other")[0]
    if name == "plainpage":
        assert row.state == "failed" and "web page" in row.detail
        assert not list((tmp_path / "weights").rglob("d.pth*"))


def test_a_file_of_another_network_is_refused_as_what_it_is(tmp_path):
    torch.save({"state_dict": SyncExpert().state_dict()}, tmp_path / "wav2lip_gan.pth")
    row = next(row for row in Downloader(tmp_path / "w").take("Wav2Lip", tmp_path / "wav2lip_gan.pth") if "gan.pth" in row.path)
    assert row.state == "failed" and "it is the lip-sync expert of Wav2Lip" in row.detail
    torch.save({"state_dict": SyncExpert().state_dict()}, tmp_path / "lipsync_expert.pth")
    rows = Downloader(tmp_path / "w").take("Wav2Lip", tmp_path)
    assert states(rows)["lipsync_expert.pth"] == "fetched" and (tmp_path / "w" / "Wav2Lip" / "lipsync_expert.pth").is_file()


def test_files_fetched_by_hand_are_taken_also_out_of_their_archive(small, tmp_path):
    downloads = tmp_path / "Downloads"
    downloads.mkdir()
    (downloads / "b.pth").write_bytes(CONTENT)
    (downloads / "b.pth.txt").write_bytes(b"notes")
    with zipfile.ZipFile(downloads / "toys.zip", "w") as archive:
        archive.writestr("deep/inside/c.pth", CONTENT)
    rows = small().take("Toy", downloads)
    assert states(rows) == {"a.pth": "absent", "b.pth": "fetched", "c.pth": "fetched"}
    assert (tmp_path / "weights" / "Toy" / "c.pth").read_bytes() == CONTENT
    assert states(small().take("Toy", downloads / "toys.zip"))["c.pth"] == "fetched"


def test_a_source_without_files_is_told(small, tmp_path):
    with pytest.raises(DownloadError, match="does not exist"):
        small().take("Toy", tmp_path / "nowhere")
    with pytest.raises(DownloadError, match=r"holds none of the files of Toy: a.pth"):
        small().take("Toy", tmp_path)


def test_an_unknown_name_suggests_a_known_one(small):
    with pytest.raises(RegistryError, match="did you mean 'Wav2Lip'"):
        zoo().of("Wav2Lop")
    with pytest.raises(ConfigError, match="above 0"):
        Downloader(Path("x"), limits=Limits(seconds=0))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"files": [], "licences": []}', '{"files": {"a": 1}, "licences": []}', "[" * 99999]
)
def test_a_damaged_lock_file_is_named(small, tmp_path, content):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "lock.json").write_text(content)
    with pytest.raises(CheckpointError, match="lock.json is damaged"):
        small()


# --- archives ---------------------------------------------------------------------------------------------------------


def zipped(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


def link(kind, target):
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_wanted_files_are_unpacked_to_their_places(tmp_path, pack):
    archive = pack(tmp_path / "a", {"x/a.pth": b"one", "b.pth": b"two", "notes.txt": b"three"})
    places = {"a.pth": tmp_path / "new" / "a.pth", "z.pth": tmp_path / "z.pth"}
    assert unpack(archive, places) == {"a.pth": tmp_path / "new" / "a.pth"}
    assert (tmp_path / "new" / "a.pth").read_bytes() == b"one" and left_in(tmp_path) == ["a", "new"]


@pytest.mark.parametrize("name", ["../a.pth", "/a.pth", "x/../../a.pth", "..\\a.pth", "C:\\a.pth"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, pack, name):
    archive = pack(tmp_path / "a", {name: b"one"})
    with pytest.raises(DownloadError, match="leads out"):
        unpack(archive, {"a.pth": tmp_path / "out" / "a.pth"})
    assert left_in(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = tarred(tmp_path / "a", {"a.pth": link(kind, "/etc/passwd")})
    with pytest.raises(DownloadError, match="no plain file"):
        unpack(archive, {"a.pth": tmp_path / "out" / "a.pth"})


def test_a_link_in_a_zip_file_is_refused(tmp_path):
    info = zipfile.ZipInfo("a.pth")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DownloadError, match="no plain file"):
        unpack(tmp_path / "a", {"a.pth": tmp_path / "out" / "a.pth"})


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    archive = zipped(tmp_path / "a", {"a.pth": bytes(30_000_000)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DownloadError, match="would unpack to 30 MB"):
        unpack(archive, {"a.pth": tmp_path / "out" / "a.pth"})
    with pytest.raises(DownloadError, match="refused"):
        unpack(zipped(tmp_path / "b", {"a.pth": bytes(3_000_000)}), {"a.pth": tmp_path / "out" / "a.pth"}, megabytes=1)
    assert left_in(tmp_path) == ["a", "b"]


def test_a_member_larger_than_it_claims_is_refused(tmp_path):
    path = zipped(tmp_path / "a", {"a.pth": b"x" * 50_000}, compression=zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    path.write_bytes(content.replace((50_000).to_bytes(4, "little"), (500).to_bytes(4, "little")))
    with pytest.raises(DownloadError):
        unpack(path, {"a.pth": tmp_path / "out" / "a.pth"})
    assert not list((tmp_path).rglob("a.pth"))


@pytest.mark.parametrize("part", [0.2, 0.9])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_damaged_archive_is_told(tmp_path, pack, part):
    archive = pack(tmp_path / "a", {"a.pth": bytes(range(256)) * 200})
    content = archive.read_bytes()
    archive.write_bytes(content[: int(part * 50_000)])
    with pytest.raises(DownloadError):
        unpack(archive, {"a.pth": tmp_path / "out" / "a.pth"})


def test_two_files_of_one_name_are_told(tmp_path):
    with pytest.raises(DownloadError, match="twice"):
        unpack(zipped(tmp_path / "a", {"x/a.pth": b"1", "y/a.pth": b"2"}), {"a.pth": tmp_path / "a.pth"})


# --- the package's own table ------------------------------------------------------------------------------------------


def test_the_table_of_checkpoints_is_that_of_the_zoo():
    assert markdown() in (ROOT / "checkpoints" / "README.md").read_text()


def test_every_published_file_of_a_model_is_in_the_zoo():
    from talkingface.registry import MODELS, load_builtins

    load_builtins("model")
    for name, model in MODELS.items():
        if model.__module__.startswith("talkingface.model."):
            for network, file in model.files.items():
                known = zoo().named(file)
                assert known is not None and name in known.used_by, file
                assert network in (known.network, *known.entries.values()) or network == "persons"


def test_every_network_that_is_recognized_is_in_the_zoo():
    from talkingface.nn.weights import blueprint, known_networks
    from talkingface.passport import load_all_networks

    load_all_networks()
    for label, factory in known_networks.items():
        file = zoo().labelled(label)
        if file is not None and file.values and not file.entries and "PC-AVS" not in label:
            with torch.device("meta"):
                assert sum(p.numel() for p in factory().parameters()) == file.values, label
        assert file is not None or "(" in label, label
        assert blueprint(factory).signature


def test_what_is_missing_is_named_with_all_that_is_known():
    text = remedy("somewhere/s3fd.pth")
    assert "about 90 MB" in text and "619a316812" in text and "adrianbulat" in text and "download Wav2Lip" in text
    assert remedy("somewhere/else.pth") == ""


@pytest.mark.parametrize(
    "content",
    ["- a", "files: {a: {used_by: [x]}}", "files: {a: 1}", "files: !!python/object/apply:os.system [x]", "a: [", "{}"],
)
def test_a_table_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "zoo.yaml").write_text(content)
    with pytest.raises(ConfigError, match="no table of published files"):
        zoo(tmp_path / "zoo.yaml")


def test_a_table_without_a_licence_it_names_is_refused(tmp_path):
    entry = {"used_by": ["x"], "what": "x", "network": "x", "page": "x", "licence": "lost"}
    (tmp_path / "zoo.yaml").write_text(yaml.safe_dump({"files": {"a": entry}}))
    with pytest.raises(ConfigError, match="lost"):
        zoo(tmp_path / "zoo.yaml")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def own_hub(tmp_path, monkeypatch):
    """torch's folder of weights is another one here, and no proxy stands between us and our server."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_the_command_says_what_is_here_and_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["download", "--json"]) == 0
    assert {row["state"] for row in json.loads(capsys.readouterr().out)} == {"absent"}
    assert main(["download", "wav2lip", "--download.offline=true"]) == 4
    out = capsys.readouterr().out
    assert "by hand" in out and "checkpoints/Wav2Lip/wav2lip_gan.pth" in out and "about 416 MB" in out
    assert main(["download", "wav2lap"]) == 2
    assert "did you mean 'Wav2Lip'" in capsys.readouterr().err


def test_the_command_takes_files_from_mirrors_and_by_hand(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mirror" / "NIQE").mkdir(parents=True)
    (tmp_path / "mirror" / "NIQE" / "niqe_modelparameters.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    assert main(["download", "NIQE", "--download.mirrors=mirror", "--quiet"]) == 0
    assert Path("checkpoints/NIQE/niqe_modelparameters.mat").is_file()
    Path("checkpoints/NIQE/niqe_modelparameters.mat").unlink()
    assert main(["download", "NIQE", "--from", "mirror/NIQE", "--quiet"]) == 0
    assert main(["download", "--quiet"]) == 0
    assert "here" in capsys.readouterr().out
