import json
import pickle
from hashlib import sha256

import pytest
import torch
from golden import TEST_DATA, Golden
from huggingface_hub.errors import LocalEntryNotFoundError
from video_maes import SMALL, Code, edit, publish, publish_full_size

from autogaze_ros.checkpoints.load import (
    OFFICIAL_VIDEO_MAE,
    REVISIONS,
    VIDEO_MAE_LICENSE,
    inspect,
    load_autogaze,
    load_reconstructor,
    save_checkpoint,
)
from autogaze_ros.errors import CheckpointError
from autogaze_ros.networks.config import VideoMAEConfig

TIMES = "module.mae.vit.embeddings.time_embed"


@pytest.fixture(scope="module")
def golden():
    return Golden(TEST_DATA / "golden_rule")


@pytest.fixture
def folder(tmp_path):
    return publish(tmp_path / "published")


def assert_same(network, expected):
    state = expected.state_dict()
    assert network.state_dict().keys() == state.keys()
    assert all(tensor.equal(state[name]) for name, tensor in network.state_dict().items())


def test_the_published_form_is_loaded(folder, golden):
    loaded = load_reconstructor(folder)
    assert_same(loaded.network, golden.video_mae)
    assert not loaded.network.training and not any(p.requires_grad for p in loaded.network.parameters())
    assert (loaded.source, loaded.revision, loaded.license) == (str(folder), "", VIDEO_MAE_LICENSE)
    assert (loaded.sha256, loaded.size) == (sha256(SMALL.read_bytes()).hexdigest(), SMALL.stat().st_size)
    assert "non-commercial" in loaded.license


@pytest.mark.parametrize("prefix", ["module.mae.", "mae.", ""])
def test_a_file_of_any_name_is_loaded(folder, golden, prefix):
    edit(folder, lambda t: {name.replace("module.mae.", prefix): tensor for name, tensor in t.items()})
    file = (folder / "videomae.pt").rename(folder / "mine.pth")
    assert_same(load_reconstructor(file).network, golden.video_mae)


def test_our_own_layout_is_loaded(tmp_path, golden):
    save_checkpoint(golden.video_mae, tmp_path / "weights", license="Apache-2.0")
    loaded = load_reconstructor(tmp_path / "weights")
    assert_same(loaded.network, golden.video_mae)
    assert loaded.network.config == golden.video_mae.config and loaded.license == "Apache-2.0"


def test_half_precision_is_widened(folder):
    edit(folder, lambda t: {name: tensor.half() for name, tensor in t.items()})
    assert {t.dtype for t in load_reconstructor(folder).network.state_dict().values()} == {torch.float32}


def test_without_config_json_it_must_have_the_published_size(folder, tmp_path):
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        load_reconstructor(folder)
    message = str(caught.value)
    assert "does not fit the published configuration (it has no config.json)" in message
    assert "vit.embeddings.time_embed is (32, 64), must be (256, 1024)" in message
    assert "missing vit.encoder.layer.23.output.dense.weight (1024, 4096)" in message


def test_the_published_size_needs_no_config_json(tmp_path):
    publish_full_size(tmp_path)
    loaded = load_reconstructor(tmp_path)
    assert loaded.network.config == VideoMAEConfig()
    assert sum(p.numel() for p in loaded.network.parameters()) == 329_941_248


def test_autogazes_config_beside_it_is_not_its_own(tmp_path, golden):
    save_checkpoint(golden.network, tmp_path, license="Apache-2.0")
    publish_full_size(tmp_path)
    loaded = load_reconstructor(tmp_path / "videomae.pt")
    assert loaded.network.config == VideoMAEConfig()


def test_tensors_of_other_networks_are_counted(folder, golden):
    def add(tensors):
        tensors["module.mae.dinov2_reg.embeddings.weight"] = torch.zeros(3, 4)
        tensors["module.mae.dinov2_reg.norm.weight"] = torch.zeros(4, dtype=torch.float16)
        tensors["module.mae.siglip2.head.weight"] = torch.full((2,), torch.nan)
        tensors["module.steps"] = torch.tensor(7)

    edit(folder, add)
    assert_same(load_reconstructor(folder).network, golden.video_mae)
    found = inspect(folder)
    assert found.fits and len(found.reports) == 98
    assert [(f.group, f.count, f.size) for f in found.unused] == [
        ("dinov2_reg", 2, 56),
        ("siglip2", 1, 8),
        ("steps", 1, 8),
    ]
    assert "loss" in found.unused[0].reason and "not part" in found.unused[2].reason


def test_every_misfit_is_listed(folder):
    def spoil(tensors):
        del tensors[TIMES]
        tensors["module.mae.decoder.more"] = torch.zeros(2)
        tensors["module.mae.decoder.mask_token"] = torch.zeros(1, 1, 7)
        tensors["module.mae.vit.layernorm.bias"][3] = torch.inf

    edit(folder, spoil)
    with pytest.raises(CheckpointError) as caught:
        load_reconstructor(folder)
    message = str(caught.value)
    assert "does not fit its config.json" in message and "\n" not in message
    assert "missing vit.embeddings.time_embed (32, 64)" in message
    assert "unexpected decoder.more (2,)" in message
    assert "wrong shape decoder.mask_token is (1, 1, 7), must be (1, 1, 48)" in message
    assert "not finite vit.layernorm.bias (64,)" in message


def test_a_pickle_that_wants_to_run_code_is_refused(folder, tmp_path):
    edit(folder, lambda tensors: tensors.update(more=Code(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match=r"refused: .* asks for \w+\.mkdir") as caught:
        load_reconstructor(folder)
    (folder / "videomae.pt").write_bytes(pickle.dumps(Code(tmp_path / "ran")))
    with pytest.raises(CheckpointError, match="not in the zip format"):
        load_reconstructor(folder)
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        ([torch.zeros(1)], "holds a list instead of a state dict"),
        ({"epoch": 3}, "'epoch' is a int, not a tensor"),
        ({"state_dict": {}}, "'state_dict' is a dict, not a tensor"),
        ({"module.gaze.weight": torch.zeros(1)}, "holds no tensors of a VideoMAE"),
    ],
)
def test_what_is_no_state_dict_is_refused(folder, content, message):
    torch.save(content, folder / "videomae.pt")
    with pytest.raises(CheckpointError, match=message):
        load_reconstructor(folder)


@pytest.mark.parametrize("length", [0, 1000, -1000])
def test_a_damaged_file_is_told_in_one_line(folder, length):
    (folder / "videomae.pt").write_bytes(SMALL.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="damaged") as caught:
        load_reconstructor(folder)
    assert "\n" not in str(caught.value)


def test_the_two_networks_are_not_mistaken(folder, tmp_path, golden):
    with pytest.raises(CheckpointError, match="holds a checkpoint of VideoMAE, not of AutoGaze"):
        load_autogaze(folder)
    save_checkpoint(golden.network, tmp_path / "gaze", license="Apache-2.0")
    with pytest.raises(CheckpointError, match="of AutoGaze, not of a reconstructor"):
        load_reconstructor(tmp_path / "gaze")
    config = json.loads((tmp_path / "gaze" / "config.json").read_text())
    del config["model_type"]
    (tmp_path / "gaze" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="of AutoGaze, not of a reconstructor"):
        load_reconstructor(tmp_path / "gaze")
    assert load_autogaze(tmp_path / "gaze").network.config == golden.network.config


def test_of_the_hub_only_the_published_file_is_asked_for(folder, tmp_path, monkeypatch):
    asked = []

    def download(name, file, *, revision, local_files_only):
        asked.append((name, file, revision))
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url: None)
    loaded = load_reconstructor(OFFICIAL_VIDEO_MAE)
    assert (loaded.source, loaded.revision) == (OFFICIAL_VIDEO_MAE, "published")
    load_reconstructor(OFFICIAL_VIDEO_MAE, revision="v2")
    assert OFFICIAL_VIDEO_MAE not in REVISIONS
    assert [*dict.fromkeys(asked)] == [(OFFICIAL_VIDEO_MAE, "videomae.pt", v) for v in (None, "v2")]
