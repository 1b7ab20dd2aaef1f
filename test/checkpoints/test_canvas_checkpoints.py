import json

import pytest
import torch
from click.testing import CliRunner
from golden import TEST_DATA, Golden
from safetensors.torch import load_file, save_file

from autogaze_ros.checkpoints.load import (
    convert,
    inspect,
    load_autogaze,
    load_reconstructor,
    save_checkpoint,
)
from autogaze_ros.cli import cli
from autogaze_ros.errors import CheckpointError
from autogaze_ros.networks.canvas import Canvas, CanvasReconstructor
from autogaze_ros.networks.config import CanvasConfig
from autogaze_ros.reconstruction import Reconstructor

CONFIG = CanvasConfig(widths=(8, 8, 16), blocks=(1, 1, 1))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CanvasReconstructor(CONFIG)


@pytest.fixture
def folder(network, tmp_path):
    save_checkpoint(network, tmp_path / "weights", license="Apache-2.0")
    return tmp_path / "weights"


def edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_what_was_saved_is_loaded(network, folder):
    loaded = load_reconstructor(folder)
    assert (loaded.network.config, loaded.license, loaded.folder) == (CONFIG, "Apache-2.0", folder)
    assert not loaded.network.training and not any(p.requires_grad for p in loaded.network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)


def test_half_precision_is_widened_and_runs(network, folder, tmp_path):
    before, after = convert(folder, tmp_path / "half", "float16")
    assert after.size < 0.6 * before.size and after.folder == tmp_path / "half"
    assert {t.dtype for t in load_file(after.folder / "model.safetensors").values()} == {torch.float16}
    loaded = load_reconstructor(after.folder)
    assert {t.dtype for t in loaded.network.state_dict().values()} == {torch.float32}
    frame, chosen = torch.randn(1, 3, 224, 224), torch.ones(1, 265, dtype=torch.bool)
    canvas = Canvas.blank(1, CONFIG.grid).show(frame, chosen & (torch.arange(265) < 60), CONFIG.grid)
    with torch.inference_mode():
        assert torch.allclose(loaded.network(canvas), network(canvas), atol=1e-2)


def test_every_misfit_is_listed(folder):
    def spoil(tensors):
        del tensors["stem.bias"]
        tensors["more"] = torch.zeros(2)
        tensors["head.bias"] = torch.zeros(7)
        tensors["to_middle.bias"][3] = torch.nan

    edit(folder, spoil)
    with pytest.raises(CheckpointError) as caught:
        load_reconstructor(folder)
    message = str(caught.value)
    assert "missing stem.bias (8,)" in message and "unexpected more (2,)" in message
    assert "wrong shape head.bias is (7,), must be (48,)" in message
    assert "not finite to_middle.bias (8,)" in message and "\n" not in message
    assert {report.fault for report in inspect(folder).reports} == {
        "", "missing", "unexpected", "wrong shape", "not finite",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes, message",
    [({"widths": [8]}, "three values"), ({"scales": "x"}, "invalid literal"), ({"stride": 9}, "stride 9")],
    ids=str,
)
def test_a_configuration_that_cannot_be_built_is_told_with_its_file(folder, changes, message):
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=rf"config\.json: .*{message}"):
        load_reconstructor(folder)


def test_networks_are_not_mistaken(folder, tmp_path):
    with pytest.raises(CheckpointError, match="of a canvas reconstructor, not of AutoGaze"):
        load_autogaze(folder)
    save_checkpoint(Golden(TEST_DATA / "golden_rule").network, tmp_path / "gaze", license="Apache-2.0")
    with pytest.raises(CheckpointError, match="of AutoGaze, not of a reconstructor"):
        load_reconstructor(tmp_path / "gaze")


def test_other_scales_do_not_rebuild_autogazes_cells(tmp_path):
    network = CanvasReconstructor(CanvasConfig(scales=(32, 224), widths=(8, 8, 8), blocks=(1, 1, 1)))
    save_checkpoint(network, tmp_path / "weights", license="Apache-2.0")
    with pytest.raises(CheckpointError, match=r"has scales \(32, 224\), not AutoGaze's own"):
        Reconstructor(str(tmp_path / "weights"), chunk_size=4, device="cpu")


def test_inspect_tells_what_it_is(folder):
    result = CliRunner().invoke(cli, ["checkpoint", "inspect", str(folder)])
    assert result.exit_code == 0, result.output
    assert "canvas reconstructor" in result.output and "Apache-2.0" in result.output
    assert (
        "56x56 of width 8, 1 blocks, 28x28 of width 8, 1 blocks, 14x14 of width 16, 1 blocks" in result.output
    )
    assert "embeddings" not in result.output
    refused = CliRunner().invoke(cli, ["checkpoint", "inspect", str(folder), "--clip", "drive.mp4"])
    assert refused.exit_code == 2 and "--clip is for checkpoints of VideoMAE" in refused.output
