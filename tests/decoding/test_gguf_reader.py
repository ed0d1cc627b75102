"""GGUF headers: what is read is what was written, and what can't be right is refused by one sentence."""

from __future__ import annotations

import os
import random
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from decoding.errors import ModelError
from decoding.models.gguf import reader
from decoding.models.gguf.blocks import widen
from decoding.models.gguf.reader import read_header
from decoding.models.gguf.room import LARGEST, Room
from decoding.models.gguf.split_files import read_model
from decoding.models.gguf.tensor_types import TYPES
from tests.gguf_files import NUMBERS, Gguf, Stored, floats, random_tensor, text, value

LIST, STRING = 9, 8
SETTINGS = {
    "general.architecture": "llama", "a": 7, "b": -7, "c": 0.5, "d": True, "words": ["eins", "", "дома"],
    "numbers": np.arange(5, dtype=np.int32), "scores": np.linspace(0, 1, 3, dtype=np.float32),
}  # fmt: skip
TENSORS = {kind.name: random_tensor(kind.name, 3, 2 * kind.num_weights) for kind in TYPES.values()}
GOOD = Gguf(metadata=SETTINGS, tensors=TENSORS)
ROW = Stored(kind=NUMBERS["Q8_0"], dimensions=(32,), data=b"\0" * 34)


def test_settings_and_tensors_are_those_that_were_written(tmp_path: Path) -> None:
    header = read_header(GOOD.write(tmp_path / "x.gguf"))
    for key, wanted in SETTINGS.items():
        found = header.metadata[key]
        assert (
            np.array_equal(found, wanted)
            if isinstance(wanted, np.ndarray)
            else (found, type(found)) == (wanted, type(wanted))
        )
    assert list(header.tensors) == list(TENSORS)
    for name, tensor in header.tensors.items():
        assert tensor.kind.name == name
        assert tensor.shape == (3, 2 * tensor.kind.num_weights)
        assert tensor.read().tobytes() == TENSORS[name].data


def test_it_agrees_with_the_gguf_package(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf", reason="the extra `bench` is not installed")
    file = GOOD.write(tmp_path / "x.gguf")
    ours = read_header(file)
    theirs = gguf.GGUFReader(file)
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        mine = ours.tensors[tensor.name]
        assert (mine.shape, mine.offset) == (tuple(tensor.shape.tolist())[::-1], tensor.data_offset)
        values = np.concatenate(list(widen(mine)))
        assert np.array_equal(values, gguf.dequantize(tensor.data, tensor.tensor_type).reshape(-1))
    assert ours.metadata["words"] == theirs.fields["words"].contents()


def test_a_header_that_is_longer_than_the_first_bytes_is_read_whole(tmp_path: Path, monkeypatch) -> None:
    file = GOOD.write(tmp_path / "x.gguf")
    for first in (8, 9, 64, 200, 300):
        monkeypatch.setattr(reader, "FIRST_BYTES", first)
        assert len(read_header(file).tensors) == len(TENSORS)


def test_other_alignments_are_kept(tmp_path: Path) -> None:
    for alignment in (1, 8, 4096):
        file = Gguf(metadata={"general.alignment": alignment}, tensors=TENSORS).write(tmp_path / "x.gguf")
        assert all(tensor.read().tobytes() == TENSORS[name].data for name, tensor in read_header(file).tensors.items())


BIG_ENDIAN = b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + b"\0" * 64
WRONG = {
    "not GGUF": (b"PK\x03\x04 and more", "not a GGUF file"),
    "empty": (b"", "too short"),
    "only its name": (b"GGUF", "cut short"),
    "version 1": (Gguf(version=1), "version 1"),
    "version 99": (Gguf(version=99), "version 99"),
    "big-endian": (BIG_ENDIAN, "big-endian"),
    "too many keys": (Gguf(num_keys=2**60), "settings"),
    "too many tensors": (Gguf(num_tensors=2**63), "tensors"),
    "one key too many": (Gguf(metadata={"a": 1}, num_keys=2), "a setting's name would have 0 bytes"),
    "no end of keys": (Gguf(metadata={"abcdef": 1}, num_keys=2).written()[:50], "cut short"),
    "a name of two lines": (Gguf(metadata={"a\nb": 1}), "control characters"),
    "a long name": (Gguf(num_keys=1, extra=struct.pack("<Q", 2**62)), "a setting's name would have"),
    "a long text": (Gguf(metadata={"a": struct.pack("<IQ", STRING, 2**50)}), "a would have"),
    "a text behind the end": (Gguf(metadata={"a": struct.pack("<IQ", STRING, 5000)}), "more than there are left"),
    "a long list": (Gguf(metadata={"a": struct.pack("<IIQ", LIST, 4, 2**40)}), "items"),
    "a list behind the end": (Gguf(metadata={"a": struct.pack("<IIQ", LIST, 4, 2**20)}), "more than there are left"),
    "texts behind the end": (Gguf(metadata={"a": struct.pack("<IIQ", LIST, STRING, 2**20)}), "room"),
    "a text in a list": (Gguf(metadata={"a": struct.pack("<IIQQ", LIST, STRING, 1, 2**63)}), "more than there are"),
    "a list of lists": (Gguf(metadata={"a": struct.pack("<IIQ", LIST, LIST, 2)}), "list of lists"),
    "an unknown value": (Gguf(metadata={"a": struct.pack("<II", 77, 0)}), "unknown type 77"),
    "an unknown item": (Gguf(metadata={"a": struct.pack("<IIQ", LIST, 13, 1)}), "unknown type 13"),
    "no UTF-8": (Gguf(metadata={"a": struct.pack("<I", STRING) + text(b"\xff\xfe")}), "UTF-8"),
    "no UTF-8 in a list": (Gguf(metadata={"a": value([b"\xff"])}), "UTF-8"),
    "a key twice": (Gguf(metadata={"a": 1}, num_keys=2, extra=text("a") + value(2)), "the setting a is there twice"),
    "alignment 0": (Gguf(metadata={"general.alignment": 0}), "power of two"),
    "alignment 24": (Gguf(metadata={"general.alignment": 24}), "power of two"),
    "alignment in words": (Gguf(metadata={"general.alignment": "32"}), "power of two"),
    "huge alignment": (Gguf(metadata={"general.alignment": struct.pack("<IQ", 10, 2**63)}), "power of two"),
    "no dimensions": (Gguf(tensors={"t": Stored(kind=0, dimensions=(), data=b"")}), "0 dimensions"),
    "five dimensions": (Gguf(tensors={"t": Stored(kind=0, dimensions=(1,) * 5, data=b"1234")}), "5 dimensions"),
    "a dimension of 0": (Gguf(tensors={"t": Stored(kind=0, dimensions=(4, 0), data=b"")}), "would have the dimensions"),
    "huge dimensions": (Gguf(tensors={"t": Stored(kind=0, dimensions=(2**63,) * 4, data=b"")}), "the dimensions"),
    "half a block": (Gguf(tensors={"t": Stored(kind=8, dimensions=(33,), data=b"\0" * 68)}), "multiple of 32"),
    "an offset between": (Gguf(tensors={"t": ROW}, offsets=[7]), "multiple of 32"),
    "an offset behind the end": (Gguf(tensors={"t": ROW}, offsets=[2**62]), "cut short"),
    "an offset that wraps": (Gguf(tensors={"t": ROW}, offsets=[2**64 - 32]), "cut short"),
    "shared bytes": (Gguf(tensors={"t": ROW, "u": ROW}, offsets=[0, 32]), "share bytes"),
    "a type by name": (Gguf(tensors={"t": Stored(kind=16, dimensions=(256,), data=b"\0" * 66)}), "IQ2_XXS"),
    "an unknown tensor type": (Gguf(tensors={"t": Stored(kind=999, dimensions=(1,), data=b"")}), "unknown type 999"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_can_not_be_right_is_told_in_one_sentence(name: str, tmp_path: Path) -> None:
    wrong, expected = WRONG[name]
    file = tmp_path / "x.gguf"
    file.write_bytes(wrong if isinstance(wrong, bytes) else wrong.written())
    with pytest.raises(ModelError, match=re.escape(expected)) as caught:
        read_header(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    one = Gguf(tensors={"t": ROW, "u": ROW}).written().replace(text("u"), text("t"))
    (tmp_path / "x.gguf").write_bytes(one)
    with pytest.raises(ModelError, match="tensor t is there twice"):
        read_header(tmp_path / "x.gguf")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = GOOD.written()
    file = tmp_path / "x.gguf"
    for length in {*range(0, len(whole), 37), len(whole) - 64}:
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_header(file)


def test_a_pipe_or_a_folder_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    for file in (tmp_path / "pipe.gguf", tmp_path, tmp_path / "absent.gguf"):
        with pytest.raises(ModelError, match="not a GGUF file"):
            read_header(file)


def test_a_file_that_another_takes_the_place_of_is_told(tmp_path: Path) -> None:
    """Weights of two files, of the same sizes, would make a model that nobody trained."""
    file = GOOD.write(tmp_path / "x.gguf")
    before, tensors = file.stat(), read_header(file).tensors
    other = GOOD.write(tmp_path / "other.gguf")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    other.replace(file)
    with pytest.raises(ModelError, match="was changed while it was read: load it again"):
        list(widen(tensors["BF16"]))


def test_a_file_that_is_cut_after_its_header_was_read_is_told(tmp_path: Path) -> None:
    file = GOOD.write(tmp_path / "x.gguf")
    tensors = read_header(file).tensors
    os.truncate(file, 600)
    with pytest.raises(ModelError, match="was cut while it was read"):
        list(widen(tensors["BF16"]))
    file.unlink()
    with pytest.raises(ModelError, match="can't be read"):
        list(widen(tensors["BF16"]))


def test_thousands_of_mutations_do_no_harm(tmp_path: Path) -> None:
    """Neither another error than the project's own, nor memory beyond a multiple of the file's size."""
    whole = GOOD.written()
    rng = random.Random(20)
    file = tmp_path / "x.gguf"
    refused, lines = 0, set()
    tracemalloc.start()
    try:
        for _ in range(4000):
            spoiled = bytearray(whole)
            for _ in range(rng.choice((1, 1, 2, 4, 16))):
                at = rng.randrange(len(spoiled))
                if rng.random() < 0.5:
                    spoiled[at] = rng.choice((0, 1, 8, 9, 0x7F, 0x80, 0xFF, rng.randrange(256)))
                else:
                    number = rng.choice((0, 1, 2**16, 2**31, 2**32 - 1, 2**62, 2**64 - 1, rng.randrange(2**64)))
                    spoiled[at : at + 8] = struct.pack("<Q", number)
            file.write_bytes(spoiled[: rng.choice((len(spoiled), rng.randrange(len(spoiled))))])
            try:
                read_model(file)
            except ModelError as error:
                refused += 1
                lines.add(str(error).count("\n"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused > 1000
    assert lines == {0}
    assert peak < 40 * len(whole) + 2**20


def split(folder: Path, count: int, **changes) -> list[Path]:
    """A model in several files, with a tensor in each."""
    return [
        Gguf(
            metadata={"split.no": number, "split.count": count, "split.tensors.count": count, **changes},
            tensors={f"t{number}": floats(np.full((2, 4), number))},
        ).write(folder / f"m-{number + 1:05}-of-{count:05}.gguf")
        for number in range(count)
    ]


def test_split_files_are_read_as_one_from_any_of_them(tmp_path: Path) -> None:
    files = split(tmp_path, 3)
    for file in files:
        model = read_model(file)
        assert model.file == files[0]
        assert list(model.tensors) == ["t0", "t1", "t2"]
        assert [next(widen(tensor))[0] for tensor in model.tensors.values()] == [0, 1, 2]


def test_incomplete_or_mixed_up_splits_are_refused(tmp_path: Path) -> None:
    files = split(tmp_path, 3)
    files[1].rename(tmp_path / "other.gguf")
    with pytest.raises(ModelError, match=r"m-00002-of-00003\.gguf is missing"):
        read_model(files[0])
    with pytest.raises(ModelError, match="names must be like"):
        read_model(tmp_path / "other.gguf")
    files[0].write_bytes(files[2].read_bytes())
    with pytest.raises(ModelError, match="isn't file 1 of the 3"):
        read_model(files[0])
    files = split(tmp_path, 2, **{"split.tensors.count": 7})
    with pytest.raises(ModelError, match="hold 2 tensors, and should hold 7"):
        read_model(files[0])
    files = split(tmp_path, 2, **{"split.count": 70_000})
    with pytest.raises(ModelError, match="up to 1024"):
        read_model(files[0])


def test_memory_is_lent_again_when_all_is_given_back() -> None:
    room = Room()
    first = [room.take(size) for size in (100, 1, 3000)]
    for number, piece in enumerate(first):
        piece[:] = number
    assert [set(piece.tolist()) for piece in first] == [{0}, {1}, {2}], "pieces share bytes"
    room.clear()
    again = room.take(2000)
    assert any(np.shares_memory(again, piece) for piece in first)
    assert not np.shares_memory(room.take(LARGEST + 1), again)
