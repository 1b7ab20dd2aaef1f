import json
import socket

import pytest
import torch
from golden import TEST_DATA, Golden
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from autogaze_ros.checkpoints.load import NVIDIA_LICENSE, OFFICIAL, REVISIONS, load_autogaze, save_checkpoint
from autogaze_ros.errors import CheckpointError


@pytest.fixture(scope="module")
def network():
    return Golden(TEST_DATA / "golden_rule").network


@pytest.fixture
def folder(network, tmp_path):
    save_checkpoint(network, tmp_path / "weights", license="Apache-2.0")
    return tmp_path / "weights"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty cache."""

    def refuse(*args, **kwargs):
        raise OSError("the network was touched")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_what_was_saved_is_loaded(network, folder, offline):
    loaded = load_autogaze(folder)
    assert loaded.network.config == network.config
    assert (loaded.license, loaded.revision, len(loaded.sha256)) == ("Apache-2.0", "", 64)
    expected = network.state_dict()
    for name, tensor in loaded.network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_names_are_the_official_ones(folder):
    names = set(load_file(folder / "model.safetensors"))
    assert "gazing_model.vision_model.blocks.0.conv3d.weight" in names
    assert "gazing_model.gaze_decoder.model.layers.3.self_attn.q_proj.weight" in names
    assert "gazing_model.gaze_decoder.task_loss_prediction_head.weight" in names
    assert "gazing_model.connector.pos_embed" in names


def test_half_precision_is_widened(folder):
    edit_tensors(folder, lambda t: t.update({name: tensor.half() for name, tensor in t.items()}))
    assert {t.dtype for t in load_autogaze(folder).network.state_dict().values()} == {torch.float32}


def test_files_that_state_no_licence_are_nvidias(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["license"]
    (folder / "config.json").write_text(json.dumps(config))
    assert load_autogaze(folder).license == NVIDIA_LICENSE


def test_every_misfit_is_listed(folder):
    def spoil(tensors):
        del tensors["gazing_model.connector.pos_embed"]
        tensors["gazing_model.more"] = torch.zeros(1)
        tensors["gazing_model.gaze_decoder.model.norm.weight"] = torch.zeros(7)

    edit_tensors(folder, spoil)
    with pytest.raises(CheckpointError) as caught:
        load_autogaze(folder)
    message = str(caught.value)
    assert "missing gazing_model.connector.pos_embed (196, 192)" in message
    assert "unexpected gazing_model.more" in message
    assert "gazing_model.gaze_decoder.model.norm.weight is (7,), must be (192,)" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "config.json").write_text("{"), "not readable JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "one JSON object"),
        (lambda f: (f / "config.json").write_text("{}"), "not an AutoGaze configuration"),
        (lambda f: (f / "model.safetensors").write_bytes(b"damaged"), "not a readable safetensors file"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(folder, spoil, message):
    spoil(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_autogaze(folder)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_read(folder):
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load_autogaze(folder)


def test_a_missing_folder_beside_others_is_no_hub_id(offline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint folder 'weights/autogase'"):
        load_autogaze("weights/autogase")


@pytest.mark.parametrize("name", ["./weights", "/no/such/folder", "no_slash", "a/b/c", "~nobody/weights"])
def test_what_cannot_be_a_hub_id_touches_no_network(offline, name):
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        load_autogaze(name)


def test_an_unreachable_hub_is_explained(offline):
    with pytest.raises(CheckpointError) as caught:
        load_autogaze(OFFICIAL)
    message = str(caught.value)
    for part in (OFFICIAL, REVISIONS[OFFICIAL], "config.json", "model.safetensors", "by hand", "folder"):
        assert part in message
    assert "\n" not in message


def test_a_hub_id_is_asked_for_at_its_pinned_revision(folder, tmp_path, monkeypatch):
    asked = []

    def download(name, file, *, revision, local_files_only):
        asked.append((name, file, revision, local_files_only))
        if local_files_only and name == OFFICIAL:
            raise LocalEntryNotFoundError("not in the cache")
        snapshot = tmp_path / (revision or "newest")
        if not snapshot.exists():
            snapshot.symlink_to(folder)
        return str(snapshot / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url: asked.append(url))
    commit, files = REVISIONS[OFFICIAL], ("config.json", "model.safetensors")
    assert load_autogaze(OFFICIAL).revision == commit
    assert asked[0] == (OFFICIAL, files[0], commit, True)
    assert OFFICIAL in asked[1] and commit in asked[1]
    assert asked[2:] == [(OFFICIAL, file, commit, False) for file in files]
    asked.clear()
    assert load_autogaze("someone/else").revision == "newest"
    assert asked == [("someone/else", file, None, True) for file in files]  # cached: no network
