"""Files that are made to do harm, written on the spot: none of them is kept.

Each function of WEIGHTS, SETTINGS, VIDEOS, SOUNDS and PICTURES writes one hostile file to the path it is given. What runs code
makes the folder SENTINEL beside it, so that a test sees whether it ran.
"""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

SENTINEL = "code-has-run"
WEIGHTS, SETTINGS, VIDEOS, SOUNDS, PICTURES = {}, {}, {}, {}, {}


def into(kind):
    """Keep a function under its own name, with words for hyphens."""

    def add(function):
        kind[function.__name__.replace("_", "-")] = function
        return function

    return add


class Runs:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.target = str(path.parent / SENTINEL)

    def __reduce__(self):
        return os.mkdir, (self.target,)


class Calls:
    """Is unpickled as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def state():
    return {"a.weight": torch.ones(4, 4), "a.bias": torch.zeros(4)}


def save(content, path, zipped=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path, _use_new_zipfile_serialization=zipped)


def both(name):
    """Write what a function returns with both containers of torch.save."""

    def add(content):
        for container, zipped in (("zip", True), ("legacy", False)):
            WEIGHTS[f"{name}-{container}"] = lambda path, zipped=zipped: save(content(path), path, zipped)
        return content

    return add


def command(path):
    """Pickle instructions that run code, after which the result is on the stack."""
    return b"cos\nmkdir\nX" + text(path.parent / SENTINEL) + b"\x85R"


def text(value):
    content = str(value).encode()
    return struct.pack("<I", len(content)) + content


def torch_zip(path, instructions, parts=(), compression=zipfile.ZIP_STORED):
    """A zip file like one of torch.save, with this data.pkl."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", instructions)
        archive.writestr("archive/version", "3\n")
        for name, content in dict(parts).items():
            archive.writestr(name, content)


def legacy(path, *pickles, rest=b""):
    """A file like one of torch.save before zip: magic, version, system, content, keys, numbers."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    begin = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps(system, 2)]
    path.write_bytes(b"".join([*begin, *pickles]) + rest)


def rezip(path, change):
    """Rewrite the parts of a zip file: change(name, content) -> content."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


# --- weights that run code --------------------------------------------------------------------------------------------


@both("code-in-place-of-a-tensor")
def code_in_place_of_a_tensor(path):
    return {"state_dict": {**state(), "a.extra": Runs(path)}}


@both("code-in-the-options")
def code_in_the_options(path):
    return {"state_dict": state(), "args": {"lr": 1e-4, "model": Runs(path)}}


@both("code-in-the-optimizer")
def code_in_the_optimizer(path):
    return {"state_dict": state(), "optimizer": {"state": {0: Runs(path)}, "param_groups": []}}


@both("code-in-a-name")
def code_in_a_name(path):
    return {"state_dict": state(), ("epoch", Runs(path)): 1}


@both("a-whole-network")
def a_whole_network(path):
    return nn.Sequential(nn.Linear(3, 3))


@both("an-array-of-objects")
def an_array_of_objects(path):
    return {**state(), "extra": np.array([Runs(path)], dtype=object)}


@both("a-function-of-torch")
def a_function_of_torch(path):
    return {**state(), "extra": Calls(torch.load, str(path.parent / "other.pth"))}


@both("getattr")
def getattr_chain(path):
    return {**state(), "extra": Calls(getattr, OrderedDict, "fromkeys")}


@into(WEIGHTS)
def code_in_a_plain_pickle(path):
    path.write_bytes(b"\x80\x02" + command(path) + b".")


@into(WEIGHTS)
def code_in_the_system_of_a_legacy_file(path):
    begin = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    path.write_bytes(begin + b"\x80\x02" + command(path) + b"." + pickle.dumps({}, 2) + pickle.dumps([], 2))


@into(WEIGHTS)
def code_in_the_keys_of_a_legacy_file(path):
    legacy(path, pickle.dumps({"epoch": 1}, 2), b"\x80\x02" + command(path) + b".")


@into(WEIGHTS)
def code_by_the_instruction_inst(path):
    torch_zip(path, b"\x80\x02(X" + text(path.parent / SENTINEL) + b"ios\nmkdir\n.")


@into(WEIGHTS)
def code_by_the_instruction_obj(path):
    torch_zip(path, b"\x80\x02(cos\nmkdir\nX" + text(path.parent / SENTINEL) + b"o.")


@into(WEIGHTS)
def code_by_stack_global(path):
    torch_zip(path, b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93X" + text(path.parent / SENTINEL) + b"\x85R.")


@into(WEIGHTS)
def code_by_the_extension_registry(path):
    torch_zip(path, b"\x80\x02\x82\x01.")


@into(WEIGHTS)
def code_in_torchscript_data(path):
    torch_zip(path, b"\x80\x02" + command(path) + b".", {"archive/constants.pkl": b"\x80\x02).", "archive/code/x.py": "pass"})


@into(WEIGHTS)
def code_in_torchscript_constants(path):
    constants = b"\x80\x02" + command(path) + b"."
    torch_zip(path, b"\x80\x02c__torch__\nA\n)\x81q\x00}b.", {"archive/constants.pkl": constants})


@into(WEIGHTS)
def code_in_a_tar_file(path):
    torch_tar(path, b"\x80\x02" + command(path) + b".")


@into(WEIGHTS)
def code_in_the_storages_of_a_tar_file(path):
    torch_tar(path, pickle.dumps({}, 2), storages=b"\x80\x02" + command(path) + b".")


@into(WEIGHTS)
def a_whole_network_in_a_tar_file(path):
    torch_tar(path, b"\x80\x02(X\x06\x00\x00\x00moduleX\x01\x00\x00\x00aX\x01\x00\x00\x00btQ.")


NOTHING, NO_LIST = pickle.dumps(0, 2), pickle.dumps([], 2)


def torch_tar(path, content, storages=NOTHING + NO_LIST, tensors=NOTHING):
    """A tar file like one of torch.save before 0.2."""
    with tarfile.open(path, "w") as archive:
        for name, part in (("sys_info", pickle.dumps({}, 2)), ("pickle", content), ("tensors", tensors), ("storages", storages)):
            info = tarfile.TarInfo(name)
            info.size = len(part)
            archive.addfile(info, io.BytesIO(part))


# --- weights that claim too much --------------------------------------------------------------------------------------


class Claims:
    """A tensor that claims a shape."""

    def __init__(self, shape, stride=None, offset=0, numbers=4):
        self.arguments = shape, stride or (1,) * len(shape), offset, numbers

    def __reduce__(self):
        shape, stride, offset, numbers = self.arguments
        return torch._utils._rebuild_tensor_v2, (torch.ones(numbers).storage(), offset, shape, stride, False, OrderedDict())


@both("a-huge-shape")
def a_huge_shape(path):
    return {"a": Claims((10**6, 10**6))}


@both("one-number-repeated")
def one_number_repeated(path):
    return {"a": Claims((10**6, 10**6), (0, 0))}


@both("a-negative-shape")
def a_negative_shape(path):
    return {"a": Claims((-4, 4))}


@both("a-shape-that-overflows")
def a_shape_that_overflows(path):
    return {"a": Claims((2**62, 2**62), (0, 0))}


@both("an-offset-beyond-the-end")
def an_offset_beyond_the_end(path):
    return {"a": Claims((2,), offset=2**40)}


@both("a-negative-offset")
def a_negative_offset(path):
    return {"a": Claims((2,), offset=-(2**20))}


@both("one-tensor-many-times")
def one_tensor_many_times(path):
    shared = torch.ones(50_000)
    return {f"a{i}": shared for i in range(20_000)}


@both("a-huge-sparse-tensor")
def a_huge_sparse_tensor(path):
    place, number = torch.zeros(2, 1, dtype=torch.long), torch.ones(1)
    return {"a": torch.sparse_coo_tensor(place, number, (10**7, 10**7), check_invariants=True)}


@both("lists-within-lists")
def lists_within_lists(path):
    content = ["x"]
    for _ in range(40):
        content = [content] * 10
    return {"state_dict": state(), "history": content}


@both("a-list-that-contains-itself")
def a_list_that_contains_itself(path):
    content = []
    content.append(content)
    return {"state_dict": state(), "history": content}


@both("an-array-of-a-huge-shape")
def an_array_of_a_huge_shape(path):
    return {**state(), "extra": Calls(np._core.multiarray._reconstruct, np.ndarray, (10**12,), b"b")}


@into(WEIGHTS)
def a_legacy_storage_of_ten_terabytes(path):
    content = torch_legacy_content(10**13)
    legacy(path, content, pickle.dumps(["0"], 2), rest=struct.pack("<q", 4) + bytes(16))


def torch_legacy_content(numbers):
    """The pickle of a legacy file with one tensor whose storage claims so many numbers."""
    buffer = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", numbers, None) if isinstance(value, bytearray) else None

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (bytearray(), 0, (4,), (1,), False, OrderedDict())

    Pickler(buffer, 2).dump({"a": Tensor()})
    return buffer.getvalue()


@into(WEIGHTS)
def a_text_of_an_exabyte(path):
    torch_zip(path, b"\x80\x04\x8d" + struct.pack("<Q", 2**60) + b"x.")


@into(WEIGHTS)
def a_number_of_gigabytes(path):
    legacy(path, b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"\x01.")


@into(WEIGHTS)
def marks_without_end(path):
    torch_zip(path, b"\x80\x02" + b"(" * 10**5)


@into(WEIGHTS)
def tuples_without_end(path):
    torch_zip(path, b"\x80\x02)" + b"\x85" * 10**5 + b".")


@into(WEIGHTS)
def a_zip_bomb(path):
    torch_zip(path, bytes(10**8), compression=zipfile.ZIP_DEFLATED)


@into(WEIGHTS)
def a_zip_bomb_in_a_folder_called_code(path):
    bomb = {"archive/constants.pkl": b"\x80\x02).", "archive/data/code/0": bytes(10**8)}
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x06\x00\x00\x00code/0X\x03\x00\x00\x00cpuJ\x00\x00\x00\x01tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
    torch_zip(path, b"\x80\x02" + tensor + b".", bomb, zipfile.ZIP_DEFLATED)


@into(WEIGHTS)
def a_zip_of_parts_that_overlap(path):
    save(state(), path)
    content = path.read_bytes()
    begin = content.rindex(b"PK\x01\x02", 0, content.index(b"PK\x05\x06") if b"PK\x05\x06" in content else None)
    end = content.rindex(b"PK\x05\x06")
    entry = content[begin:end]
    entries = b"".join(entry.replace(b"serialization_id", f"serialization_{i:02d}".encode()) for i in range(99))
    directory = content[content.index(b"PK\x01\x02") : end] + entries
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0, 0, len(directory), content.index(b"PK\x01\x02"), 0)
    path.write_bytes(content[: content.index(b"PK\x01\x02")] + directory + tail)


@into(WEIGHTS)
def a_zip_part_of_four_gigabytes(path):
    save(state(), path)
    content = path.read_bytes()
    begin = content.index(b"PK\x01\x02")
    path.write_bytes(content[: begin + 20] + struct.pack("<II", 2**32 - 2, 2**32 - 2) + content[begin + 28 :])


@into(WEIGHTS)
def a_gzip_bomb(path):
    path.write_bytes(gzip.compress(bytes(10**8)))


# --- weights of wrong kinds -------------------------------------------------------------------------------------------


@into(WEIGHTS)
def numbers_of_another_type_than_stored(path):
    save({"a": torch.ones(40, dtype=torch.int8)}, path)
    rezip(path, lambda name, content: content.replace(b"CharStorage", b"DoubleStorage") if "data.pkl" in name else content)


@into(WEIGHTS)
def numbers_of_no_type(path):
    save({"a": torch.ones(4)}, path)
    rezip(path, lambda name, content: content.replace(b"FloatStorage", b"EmptyStorage") if "data.pkl" in name else content)


@into(WEIGHTS)
def cut_off_in_the_middle(path):
    save({"a": torch.ones(10**5)}, path)
    path.write_bytes(path.read_bytes()[:200_000])


@into(WEIGHTS)
def cut_off_after_a_byte(path):
    path.write_bytes(b"\x80")


@into(WEIGHTS)
def nothing_but_an_optimizer(path):
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    save(optimizer.state_dict(), path)


@into(WEIGHTS)
def an_onnx_model(path):
    path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x051.7.0:" + bytes(200))


@into(WEIGHTS)
def an_hdf5_file(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))


@into(WEIGHTS)
def a_web_page(path):
    path.write_bytes(b"\n <!DOCTYPE html><html><script>alert(1)</script></html>")


@into(WEIGHTS)
def noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(10_000))


# --- weights that are links and devices -------------------------------------------------------------------------------


@into(WEIGHTS)
def a_link_to_itself(path):
    path.symlink_to(path)


@into(WEIGHTS)
def a_link_to_zeros_without_end(path):
    path.symlink_to("/dev/zero")


@into(WEIGHTS)
def a_pipe_that_nobody_writes(path):
    os.mkfifo(path)


@into(WEIGHTS)
def a_tar_file_of_links(path):
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)


@into(WEIGHTS)
def a_tar_storage_of_an_exabyte(path):
    kind = b"\x80\x02(K\x01X\x03\x00\x00\x00cpuctorch\nFloatStorage\nt."
    torch_tar(path, pickle.dumps({}, 2), storages=pickle.dumps(1, 2) + kind + struct.pack("<q", 2**58) + bytes(16))


@into(WEIGHTS)
def a_tar_tensor_of_a_million_dimensions(path):
    tensors = pickle.dumps(1, 2) + pickle.dumps((2, 1, 0), 2) + struct.pack("<ii", 10**6, 0)
    kind = b"\x80\x02(K\x01X\x03\x00\x00\x00cpuctorch\nFloatStorage\nt."
    storages = pickle.dumps(1, 2) + kind + struct.pack("<q", 4) + bytes(16) + pickle.dumps([], 2)
    torch_tar(path, pickle.dumps({}, 2), storages, tensors)


# --- safetensors ------------------------------------------------------------------------------------------------------


def safetensors(path, header, numbers=bytes(16), size=None):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content) if size is None else size) + content + numbers)


def tensor(dtype="F32", shape=(4,), offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@into(WEIGHTS)
def safetensors_with_a_header_of_an_exabyte(path):
    safetensors(path, {"a": tensor()}, size=2**60)


@into(WEIGHTS)
def safetensors_of_a_huge_shape(path):
    safetensors(path, {"a": tensor(shape=(10**6, 10**6), offsets=(0, 4 * 10**12))})


@into(WEIGHTS)
def safetensors_whose_shape_overflows(path):
    safetensors(path, {"a": tensor(shape=(2**63, 2**63, 4))})


@into(WEIGHTS)
def safetensors_of_an_unknown_type(path):
    safetensors(path, {"a": tensor(dtype="PICKLE")})


@into(WEIGHTS)
def safetensors_of_another_type_than_stored(path):
    safetensors(path, {"a": tensor(dtype="F64")})


@into(WEIGHTS)
def safetensors_that_overlap(path):
    safetensors(path, {f"a{i}": tensor() for i in range(1000)})


@into(WEIGHTS)
def safetensors_with_offsets_backwards(path):
    safetensors(path, {"a": tensor(offsets=(16, 0))})


@into(WEIGHTS)
def safetensors_nested_without_end(path):
    safetensors(path, b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}")


@into(WEIGHTS)
def safetensors_with_code_in_their_metadata(path):
    """Metadata that a careless reader would unpickle, run or build a network of any size from; its tensors are no network's."""
    code = pickle.dumps(Runs(path)).hex()
    sizes = {"model": '"Wav2Lip"', "width": "1e12", "image_size": "99999999", "__reduce__": code, "nest": "[" * 10**5}
    safetensors(path, {"__metadata__": sizes, "a": tensor()})


# --- settings ---------------------------------------------------------------------------------------------------------


@into(SETTINGS)
def an_object_in_settings(path):
    path.write_text(f"seed: !!python/object/apply:os.mkdir ['{path.parent / SENTINEL}']\n")


@into(SETTINGS)
def an_object_as_a_section(path):
    path.write_text(f"training: !!python/object/new:os.mkdir {{args: ['{path.parent / SENTINEL}']}}\n")


@into(SETTINGS)
def an_object_as_a_name(path):
    path.write_text(f"? !!python/object/apply:os.mkdir ['{path.parent / SENTINEL}']\n: 1\n")


@into(SETTINGS)
def names_that_multiply(path):
    lines = ["a0: &a0 {x: 1, y: 2}"] + [f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}, r: *a{i - 1}}}" for i in range(1, 30)]
    path.write_text("\n".join(lines))


@into(SETTINGS)
def lists_that_multiply(path):
    lines = ["  a0: &a0 [x, y]"] + [f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    path.write_text("datasets:\n" + "\n".join(lines) + "\nplugins: *a29\n")


@into(SETTINGS)
def settings_nested_without_end(path):
    path.write_text("seed: " + "[" * 20_000 + "]" * 20_000)


@into(SETTINGS)
def settings_that_contain_themselves(path):
    path.write_text("training: &a {training: *a}\n")


@into(SETTINGS)
def a_number_of_a_million_digits(path):
    path.write_text("seed: " + "9" * 10**6)


@into(SETTINGS)
def settings_that_are_no_text(path):
    path.write_bytes(np.random.default_rng(0).bytes(1000))


# --- media ------------------------------------------------------------------------------------------------------------


def png(path, width, height):
    """A picture that claims a size, with a few bytes of content."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def avi(path, width, height, codec=b"DIB "):
    """A video that claims a size, a rate and a length, with one frame of a few bytes."""

    def chunk(kind, content):
        return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    main = struct.pack("<14I", 40_000, 0, 0, 0x10, 2**31 - 1, 0, 1, 0, width % 2**32, height % 2**32, 0, 0, 0, 0)
    stream = b"vids" + codec + struct.pack("<IHHIIIIIIIIHHHH", 0, 0, 0, 0, 1, 25, 0, 2**31 - 1, 0, 0, 0, 0, 0, 0, 0)
    form = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, codec if codec != b"DIB " else b"\0\0\0\0", 0, 0, 0, 0, 0)
    lists = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", form))
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + lists)
    movie = chunk(b"LIST", b"movi" + chunk(b"00dc", bytes(64)))
    path.write_bytes(chunk(b"RIFF", b"AVI " + header + movie))


def good_video(path, **options):
    """A short real video, to be damaged."""
    from talkingface.media.video import write_video

    write_video(path, (np.full((64, 64, 3), 40 * i, np.uint8) for i in range(5)), 25, **options)


def replaced(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@into(VIDEOS)
def a_video_of_two_thousand_million_pixels_a_side(path):
    avi(path, 2**31 - 1, 2**31 - 1)


@into(VIDEOS)
def a_video_of_thirty_thousand_pixels_a_side(path):
    avi(path, 30_000, 30_000)


@into(VIDEOS)
def a_video_of_negative_size(path):
    avi(path, -64, -(2**31))


@into(VIDEOS)
def a_video_whose_sample_claims_a_terabyte(path):
    good_video(path)
    content = path.read_bytes()
    place = content.index(b"stsz") + 8
    path.write_bytes(content[:place] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + content[place + 8 :])


@into(VIDEOS)
def a_video_with_two_thousand_million_samples(path):
    good_video(path)
    content = path.read_bytes()
    place = content.index(b"stts") + 8
    path.write_bytes(content[:place] + struct.pack(">III", 1, 2**31 - 1, 1) + content[place + 12 :])


@into(VIDEOS)
def a_video_whose_size_is_another_than_its_frames(path):
    good_video(path)
    content = path.read_bytes()
    place = content.index(b"avc1", content.index(b"stsd")) + 28
    path.write_bytes(content[:place] + struct.pack(">HH", 65_535, 65_535) + content[place + 4 :])


@into(VIDEOS)
def a_list_of_other_files(path):
    path.write_text("ffconcat version 1.0\nfile /etc/passwd\nfile ../../../etc/hostname\n")


@into(VIDEOS)
def a_playlist_of_addresses(path):
    path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n"
    )


@into(VIDEOS)
def a_video_that_is_noise(path):
    path.write_bytes(b"\0\0\0\x18ftypmp42" + np.random.default_rng(0).bytes(5000))


@into(PICTURES)
def a_picture_of_two_thousand_million_pixels_a_side(path):
    png(path, 2**31 - 1, 2**31 - 1)


@into(PICTURES)
def a_picture_of_sixty_thousand_pixels_a_side(path):
    png(path, 60_000, 60_000)


@into(PICTURES)
def a_picture_without_pixels(path):
    png(path, 0, 0)


def wav(path, rate, channels, bits, claimed, samples=bytes(64_000)):
    """A sound that claims a rate and a length."""
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * bits // 8 % 2**32, channels * bits // 8 % 2**16, bits)
    head = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", claimed)
    path.write_bytes(b"RIFF" + struct.pack("<I", 2**32 - 1) + head + samples)


@into(SOUNDS)
def a_sound_of_four_gigabytes(path):
    wav(path, 16_000, 1, 16, 2**32 - 1)


@into(SOUNDS)
def a_sound_of_no_rate(path):
    wav(path, 0, 1, 16, 64_000)


@into(SOUNDS)
def a_sound_of_sixty_thousand_channels(path):
    wav(path, 16_000, 60_000, 16, 64_000)


@into(SOUNDS)
def a_sound_of_a_thousand_million_samples_a_second(path):
    wav(path, 10**9, 1, 16, 64_000)


@into(SOUNDS)
def a_sound_of_one_sample_a_second(path):
    wav(path, 1, 1, 16, 64_000)


def suffix(kind):
    """What files of a kind are called."""
    return {id(WEIGHTS): ".pth", id(SETTINGS): ".yaml", id(VIDEOS): ".mp4", id(SOUNDS): ".wav", id(PICTURES): ".png"}[id(kind)]


def write_all(kind, folder):
    """Write every hostile file of a kind. Returns its name -> path, each in a folder of its own."""
    paths = {}
    for name, write in kind.items():
        path = Path(folder) / name / f"file{suffix(kind)}"
        path.parent.mkdir(parents=True)
        write(path)
        paths[name] = path
    return paths
