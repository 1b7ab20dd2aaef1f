"""Checkpoints, damaged where their structure is: loaded, or refused in one line."""

import json
import shutil
import struct
import zipfile

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from mutations import accepted_or_refused, damaged, edited, examples
from video_maes import SMALL

from autogaze_ros.checkpoints.embedded import RECONSTRUCTOR
from autogaze_ros.checkpoints.load import CheckpointError, inspect, load_reconstructor

_HEAD, _TAIL = 2000, 20_000  # bytes that are damaged: the header, and the zip's directory


def check(folder):
    with accepted_or_refused(CheckpointError):
        load_reconstructor(folder)
    with accepted_or_refused(CheckpointError):
        inspect(folder)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


@pytest.fixture
def pickled(folder):
    """A folder of a small VideoMAE."""
    shutil.copy(SMALL.with_name("video_mae.json"), folder / "config.json")
    shutil.copy(SMALL, folder / "videomae.pt")
    return folder


@pytest.fixture
def safe(folder):
    shutil.copy(RECONSTRUCTOR / "config.json", folder)
    shutil.copy(RECONSTRUCTOR / "model.safetensors", folder)
    return folder


def test_damaged_safetensors_are_loaded_or_refused_in_one_line(safe):
    whole = (safe / "model.safetensors").read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")

    @examples(20)
    @given(damaged([whole[:size]]), st.integers(0, 1000) | st.just(0))
    def read(head, cut):
        (safe / "model.safetensors").write_bytes(head + whole[size : len(whole) - cut])
        check(safe)

    read()


def test_edited_headers_of_safetensors_are_loaded_or_refused_in_one_line(safe):
    whole = (safe / "model.safetensors").read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")
    values = json.loads(whole[8:size])

    @examples(20)
    @given(edited(values))
    def read(values):
        head = json.dumps(values).encode()
        (safe / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + whole[size:])
        check(safe)

    read()


def test_damaged_zips_are_loaded_or_refused_in_one_line(pickled):
    whole = (pickled / "videomae.pt").read_bytes()

    @examples(20)
    @given(damaged([whole[:_HEAD]]) | st.just(whole[:_HEAD]), damaged([whole[-_TAIL:]]))
    def read(head, tail):
        (pickled / "videomae.pt").write_bytes(head + whole[_HEAD:-_TAIL] + tail)
        check(pickled)

    read()


def test_damaged_pickles_are_loaded_or_refused_in_one_line(pickled):
    with zipfile.ZipFile(pickled / "videomae.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))

    @examples(20)
    @given(damaged([members[name]]))
    @example(b"\x80\x02ca\x0bb\x1b[2J\nc\n.")
    def read(data):
        with zipfile.ZipFile(pickled / "videomae.pt", "w") as archive:
            for each, content in {**members, name: data}.items():
                archive.writestr(each, content)
        check(pickled)

    read()


def test_small_state_dicts_of_any_tensors_are_loaded_or_refused_in_one_line(pickled):
    kinds = st.sampled_from([torch.float32, torch.int8, torch.bool, torch.complex64, torch.float8_e5m2])
    shapes = st.lists(st.integers(0, 4), max_size=3)
    tensors = st.builds(lambda shape, kind: torch.zeros(shape).to(kind), shapes, kinds)
    others = tensors | st.integers() | st.text(max_size=5) | st.lists(tensors, max_size=2)
    names = st.sampled_from(["vit.a", "decoder.b", "module.mae.vit.c", "other.d", 5]) | st.text(max_size=9)

    @examples(20)
    @given(st.dictionaries(names, others, max_size=4))
    def read(values):
        torch.save(values, pickled / "videomae.pt")
        check(pickled)

    read()
