"""Limits on the memory and time that checkpoints may take, and configurations that are rejected."""

import json
import math
import pickle
import shutil
import struct
import zipfile

import pytest
import torch
from peak_memory import peaks
from safetensors.torch import load_file, save, save_file
from video_maes import SMALL

from autogaze_ros.checkpoints.embedded import GAZE
from autogaze_ros.checkpoints.load import inspect, load_autogaze, load_reconstructor
from autogaze_ros.engines.autogaze import AutoGazeEngine, Clip
from autogaze_ros.errors import CheckpointError, ConfigError
from autogaze_ros.networks.config import AutoGazeConfig, CanvasConfig, VideoMAEConfig

_MOST = 512  # MiB
_INSPECT = """
from autogaze_ros.checkpoints.load import inspect
from autogaze_ros.errors import CheckpointError

def said_of(path):
    try:
        return f"fits {inspect(path).fits}"
    except CheckpointError as error:
        return str(error)
"""
_LOAD = """
from autogaze_ros.checkpoints.load import load_autogaze
from autogaze_ros.errors import CheckpointError

def said_of(path):
    try:
        return load_autogaze(path)
    except CheckpointError as error:
        return str(error)
"""


def measured(*paths):
    """Inspect checkpoints; return peak MiB, and the output for each."""
    found = peaks(_INSPECT, paths)
    assert len(found) == len(paths)
    return max(cost for cost, _ in found), [said for _, said in found]


class Calls:
    """Object whose pickle calls a function that torch trusts."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def zipped(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members:
            archive.writestr(f"archive/{name}", data)
    return path


def tuples(levels):
    """A pickle of tuples that hold the one before twice, hashed in 2^levels steps."""
    data = b"\x80\x02}K\x01\x85q\x00"
    for level in range(levels):
        data += b"h" + bytes([level]) + b"\x86q" + bytes([level + 1])
    return data + b"K\x01s."


def strided(path):
    torch.save({"vit.a": torch.zeros(1).as_strided((1 << 15, 1 << 15), (0, 0))}, path)


def shared(path):
    whole = torch.zeros(1 << 21)
    torch.save({f"vit.{n}": whole.view(1, -1) for n in range(200)}, path)


def grown(path):
    """A tensor of 2^30 values over a storage of none, which torch makes as large as it wants."""
    torch.save({"vit.a": torch.zeros(0)}, path)
    with zipfile.ZipFile(path) as archive:
        data = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
        others = [(n.split("/", 1)[1], archive.read(n)) for n in archive.namelist() if "data.pkl" not in n]
    assert b"K\x00\x85" in data
    zipped(path, [("data.pkl", data.replace(b"K\x00\x85", b"J\x00\x00\x00\x40\x85", 1)), *others])


def of(value):
    return lambda path: torch.save({"vit.a": value}, path)


PICKLES = {
    "strides of 0": (strided, "claims more values than are stored"),
    "one storage for all": (shared, "claim more bytes together than the file has"),
    "a storage of none": (grown, "damaged|claims|claim"),
    "a bytearray": (of(Calls(bytearray, 1 << 32)), "asks for __builtin__.bytearray|builtins.bytearray"),
    "a tensor by its size": (of(Calls(torch.Tensor, 1 << 32)), "asks for torch.Tensor"),
    "sparse": (
        of(torch.sparse_coo_tensor(size=(1 << 20, 1 << 20), check_invariants=True)),
        "asks for torch._utils",
    ),
    "on no device": (of(torch.zeros(1 << 20, 1 << 20, device="meta")), "asks for torch._utils"),
    "hashed for ever": (
        lambda path: zipped(path, [("data.pkl", tuples(60))]),
        "torch.save does not write such",
    ),
    "compressed": (
        lambda path: zipped(path, [("data.pkl", bytes(1 << 26))], zipfile.ZIP_DEFLATED),
        "more than its size|compresses nothing",
    ),
    "a large pickle": (lambda path: zipped(path, [("data.pkl", bytes(5 << 20))]), "pickle has more than"),
    "many members": (
        lambda path: zipped(path, [("data.pkl", b"."), *((f"data/{n}", b"") for n in range(20_001))]),
        "more than its size",
    ),
    "two pickles": (
        lambda path: zipped(path, [("data.pkl", b"."), ("more/data.pkl", b".")]),
        "not one pickle",
    ),
    "no zip": (lambda path: path.write_bytes(pickle.dumps({})), "not in the zip format"),
}


def test_pickles_that_claim_too_much_are_refused_before_they_cost(tmp_path):
    paths = []
    for number, (write, _) in enumerate(PICKLES.values()):
        paths.append(tmp_path / f"{number:02d}.pt")
        write(paths[-1])
    cost, said = measured(*paths)
    for (_, expected), line in zip(PICKLES.values(), said, strict=True):
        assert any(part in line for part in expected.split("|")), line
    assert cost < _MOST


def test_tensors_that_share_a_little_are_read(tmp_path):
    tensors = torch.load(SMALL, weights_only=True)
    name = next(name for name in tensors if name.endswith("mask_token"))
    torch.save({**tensors, "module.mae.more.tied": tensors[name]}, tmp_path / "videomae.pt")
    shutil.copy(SMALL.with_name("video_mae.json"), tmp_path / "config.json")
    assert load_reconstructor(tmp_path).network is not None


def safetensors(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


def test_safetensors_that_claim_too_much_are_refused_before_they_cost(tmp_path):
    made = {
        "a header of gigabytes": struct.pack("<Q", 1 << 40) + b"{}",
        "a header of megabytes": safetensors(b'{"__metadata__":{"a":"' + b"b" * (2 << 20) + b'"}}'),
        "nested": safetensors(b'{"a":' * 100_000),
        "offsets": safetensors(b'{"a":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}'),
        "a shape": safetensors(
            b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}', bytes(4)
        ),
        "bits": safetensors(b'{"a":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}}', bytes(4)),
        "a name": save({"a\x1b[2J": torch.zeros(1)}),
    }
    folders = []
    for number, data in enumerate(made.values()):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        shutil.copy(GAZE / "config.json", folders[-1])
        (folders[-1] / "model.safetensors").write_bytes(data)
    with (folders[0] / "model.safetensors").open("r+b") as file:
        file.truncate(1 << 41)  # a hole
    cost, said = measured(*folders)
    assert all("not a readable safetensors file" in line or "invalid name" in line for line in said[:4]), said
    assert cost < _MOST and not any("\x1b" in line for line in said)


def test_what_the_network_does_not_need_is_not_read(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[4294967296],"data_offsets":[0,17179869184]}}'
    (tmp_path / "model.safetensors").write_bytes(safetensors(header))
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.truncate(8 + len(header) + (1 << 34))
    shutil.copy(GAZE / "config.json", tmp_path)
    ((cost, said),) = peaks(_LOAD, [tmp_path])
    assert "unexpected a (4294967296,)" in said and cost < 1500


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(GAZE, folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.bool, torch.float8_e4m3fn])
def test_weights_are_floating_point_numbers(weights, dtype):
    tensors = load_file(weights / "model.safetensors")
    name = next(iter(tensors))
    save_file({**tensors, name: torch.zeros(tensors[name].shape).to(dtype)}, weights / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"wrong type {name}"):
        load_autogaze(weights)
    (report,) = (report for report in inspect(weights).reports if report.fault)
    assert report.fault == "wrong type" and report.dtype == str(dtype).removeprefix("torch.")


def test_of_many_unexpected_tensors_the_first_are_named(weights):
    more = {f"more.{n:04d}": torch.zeros(1) for n in range(500)}
    save_file({**load_file(weights / "model.safetensors"), **more}, weights / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_autogaze(weights)
    assert "more.0019" in str(caught.value) and str(caught.value).endswith("; 480 more unexpected")


def nested(levels):
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    "text, message",
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        (nested(100), "nested more than 32 levels deep"),
        ('{"model_type": "autogaze", "model_type": "other"}', "repeats a key"),
        ('{"a": NaN}', "NaN is not allowed"),
        ('{"a": "' + "b" * (1 << 20) + '"}', "more than 1048576 bytes"),
        ("\ufeff{}", "not readable JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not readable JSON"),
        ('{"license": "a\\u001b[2J"}', "license must be one line"),
        ('{"license": "\\ud800"}', "license must be one line"),
        ('{"license": ["mit"]}', "license must be one line"),
        (b"\xff\xfe{}", "not readable JSON"),
    ],
    ids=range(11),
)
def test_texts_that_are_no_configuration_are_refused(weights, text, message):
    (weights / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=message) as caught:
        load_autogaze(weights)
    assert "\n" not in str(caught.value)


ODD = [math.nan, math.inf, -math.inf, -1, 0, 1e-300, 1e300, 1 << 40, True, "4", "x", None, [], {}, [1] * 9]
_OWN = AutoGazeConfig.from_dict(json.loads((GAZE / "config.json").read_text())).to_dict()
_NUMBERS = [
    (["gaze_model_config", part, name])
    for part in ("vision_model_config", "gaze_decoder_config")
    for name in _OWN["gaze_model_config"][part]
    if name != "rope_scaling"
] + [
    ["num_vision_tokens_each_frame"],
    ["max_num_frames"],
    ["gaze_model_config", "input_img_size"],
    *(
        ["gaze_model_config", "gaze_decoder_config", "rope_scaling", name]
        for name in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    ),
]


@pytest.mark.parametrize("path", _NUMBERS, ids=lambda path: path[-1])
def test_no_number_of_a_configuration_may_be_odd(path):
    for value in ODD:
        values = json.loads(json.dumps(_OWN))
        place = values
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        with pytest.raises(ConfigError) as caught:
            AutoGazeConfig.from_dict(values)
        assert len(str(caught.value)) < 300


def test_no_number_of_a_reconstructor_may_be_odd():
    for config in (VideoMAEConfig, CanvasConfig):
        plain = config().to_dict()
        for name in set(plain) - {"model_type", "hidden_act", "causal", "scale_embed", "time_embed"}:
            for value in ODD:
                if name == "qkv_bias" and value is True:
                    continue
                with pytest.raises(ConfigError):
                    config.from_dict({**plain, name: value})
                if name in ("widths", "blocks"):
                    with pytest.raises(ConfigError):
                        config.from_dict({**plain, name: [8, 8, value]})


@pytest.mark.parametrize(
    "scales", ["1+" * 200_000, "224+224", "0+224", "-16+224", "9" * 5000, "16+" * 7 + "1000000", "inf", ""]
)
def test_scales_are_few_and_small(scales):
    for config in (VideoMAEConfig, CanvasConfig):
        with pytest.raises(ConfigError) as caught:
            config.from_dict({**config().to_dict(), "scales": scales})
        assert len(str(caught.value)) < 300
    with pytest.raises(ConfigError):
        AutoGazeConfig.from_dict({**_OWN, "scales": scales})


def test_a_network_that_computes_no_numbers_is_none(weights):
    network = load_autogaze(weights).network
    network.gazing_model.gaze_decoder.lm_head.weight.fill_(3e38)
    engine = AutoGazeEngine(network)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        engine.gaze([Clip(engine.open_stream(), torch.ones(1, 3, 224, 224))])
