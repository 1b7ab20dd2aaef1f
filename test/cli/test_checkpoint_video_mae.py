import json
import sys
from hashlib import sha256

import pytest
import torch
from cli_harness import run
from golden import TEST_DATA, Golden, rule_frames
from hub_double import NEWEST, download, serving
from PIL import Image
from safetensors.torch import load_file, save_file
from video_maes import SMALL, Code, edit, publish, publish_full_size, telling_time

from autogaze_ros.checkpoints.load import (
    OFFICIAL_VIDEO_MAE,
    VIDEO_MAE_LICENSE,
    load_reconstructor,
    save_checkpoint,
)

TABLES = {
    "encoder scales": "vit.embeddings.scale_embed",
    "encoder times": "vit.embeddings.time_embed",
    "decoder scales": "decoder.decoder_scale_embed",
    "decoder times": "decoder.time_embed",
}


@pytest.fixture
def folder(tmp_path):
    return publish(tmp_path / "published")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds of images."""
    images = tmp_path_factory.mktemp("clip")
    for number, frame in enumerate(rule_frames(20, 48, 64)):
        Image.fromarray(frame).save(images / f"{number:03}.png")
    return images


class Inspected:
    """Return the output of inspect, by its parts."""

    def __init__(self, folder, *options):
        result = run("checkpoint", "inspect", folder, *options)
        self.status, self.errors = result.exit_code, result.stderr
        about, tensors, embeddings, *trial = result.stdout.split("\n\n")
        self.about = {label: rest.strip() for label, _, rest in _split(about)}
        rows = [[cell.strip() for cell in line.split("  ") if cell] for line in tensors.splitlines()]
        self.tensors = {row[1]: row for row in rows}
        self.embeddings = embeddings.splitlines()[1:]
        self.trial = "".join(trial).splitlines()

    def said_of(self, table):
        """Return the description of a table's rows."""
        return [line.rsplit("  ", 1)[-1] for line in self.embeddings if line.startswith(table)]


def _split(text):
    return [line.partition("  ") for line in text.splitlines()]


def test_inspect_tells_what_the_published_form_holds(folder):
    found = Inspected(folder)
    assert found.status == 0 and found.errors == ""
    assert found.about["network"] == "VideoMAE, configured by its config.json"
    assert found.about["revision"] == "none (local files)"
    assert found.about["sha256"] == sha256(SMALL.read_bytes()).hexdigest()
    assert found.about["licence"] == VIDEO_MAE_LICENSE
    assert found.about["scales"] == "32, 64, 112, 224 pixels, 265 tokens a frame"
    assert found.about["encoder"] == "depth 3, width 64, 4 heads, patches 16x16 of 224x224"
    assert found.about["decoder"] == "depth 2, width 48, 4 heads"
    assert found.about["context"] == "32 frames at most"
    assert found.about["parameters"] == "322,896" and found.about["tensors"] == "98 as float32"
    assert len(found.tensors) == 98 and {row[0] for row in found.tensors.values()} == {"loaded"}


def test_inspect_tells_of_embeddings_and_tries_them_on_the_drive(folder):
    found = Inspected(folder)
    assert [line.split("  ")[0] for line in found.embeddings] == [
        "encoder scales", "encoder times", "encoder times",
        "decoder scales", "decoder times", "decoder times",
    ]  # fmt: skip
    assert (
        "rows 0-15" in found.embeddings[1]
        and "rows 16-31" in found.embeddings[2]
        and "RMS 0.0" in found.embeddings[0]
    )
    assert all("looks untrained: noise of 0.0" in line for line in found.embeddings)  # it was never trained
    assert found.trial[0].startswith("Reconstruction of 4 frames of drive:0, 40 tokens each")
    assert [line.split("  ")[0] for line in found.trial[1:]] == list(TABLES)
    assert ["zeroed" in line for line in found.trial[1:]] == [True, False, True, False]


def test_times_that_are_noise_look_untrained_and_nothing_depends_on_them(folder, clip):
    noise = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) * 0.02
    edit(folder, lambda tensors: tensors.update({"module.mae.vit.embeddings.time_embed": noise}))
    found = Inspected(folder, "--clip", clip)
    assert found.status == 0
    for said in found.said_of("encoder times"):
        assert said.startswith("looks untrained: noise of 0.02")
    assert f"Reconstruction of 4 frames of {clip}" in found.trial[0]
    assert "does not depend on them: error changes by 0.0" in found.trial[2]


def test_reconstruction_that_depends_on_times(tmp_path):
    save_checkpoint(telling_time(), tmp_path / "weights", license="Apache-2.0")
    (tmp_path / "clip").mkdir()
    for number, grey in enumerate([0] * 10 + [255] * 10):
        Image.new("L", (64, 48), grey).save(tmp_path / "clip" / f"{number:03}.png")
    found = Inspected(tmp_path / "weights", "--clip", tmp_path / "clip")
    assert found.status == 0 and found.about["licence"] == "Apache-2.0"
    assert found.said_of("encoder times") == ["looks untrained: all zero, as initialized"]
    assert found.said_of("decoder times") == ["looks trained"]
    assert "reconstruction does not depend on them: error changes by 0.00%" in found.trial[1]
    assert "reconstruction depends on them: error rises by" in found.trial[4]


def test_reconstruction_that_differs_without_times(folder, clip):
    rows = 9 * torch.randn(32, 48, generator=torch.Generator().manual_seed(0)).cumsum(0)
    edit(folder, lambda tensors: tensors.update({"module.mae.decoder.time_embed": rows}))
    found = Inspected(folder, "--clip", clip)
    assert found.said_of("decoder times") == ["looks trained"] * 2
    assert "reconstruction differs but is equally good: error changes by" in found.trial[4]


def test_without_times_it_cannot_be_loaded(folder):
    edit(folder, lambda tensors: tensors.pop("module.mae.decoder.time_embed"))
    found = Inspected(folder)
    assert found.status == 1
    assert found.tensors[TABLES["decoder times"]] == ["missing", TABLES["decoder times"], "(32, 48)"]
    assert found.said_of("decoder times") == ["missing: decoder.time_embed"]
    assert len(found.said_of("encoder times")) == 2
    assert found.trial == ["Reconstruction was not tried, because this checkpoint cannot be loaded."]
    assert found.errors.splitlines() == [f"Error: {folder} cannot be loaded; tensors: 1 missing"]


def test_every_misfit_has_its_row(folder):
    def spoil(tensors):
        tensors["module.mae.vit.embeddings.scale_embed"] = torch.zeros(3, 64)
        tensors["module.mae.decoder.more"] = torch.zeros(2)
        tensors["module.mae.vit.embeddings.time_embed"][5, 5] = torch.nan

    edit(folder, spoil)
    found = Inspected(folder)
    assert found.status == 1
    assert {name: row for name, row in found.tensors.items() if row[0] != "loaded"} == {
        name: [fault, name, shape, "float32"]
        for fault, name, shape in [
            ("wrong shape", TABLES["encoder scales"], "is (3, 64), must be (4, 64)"),
            ("unexpected", "decoder.more", "(2,)"),
            ("not finite", TABLES["encoder times"], "(32, 64)"),
        ]
    }
    assert found.said_of("encoder scales") == ["of wrong shape: vit.embeddings.scale_embed"]
    assert found.said_of("encoder times") == ["not finite: vit.embeddings.time_embed"]
    assert "1 wrong shape, 1 not finite, 1 unexpected" in found.errors


def test_tensors_of_other_networks_are_summed_up(folder, clip):
    def add(tensors):
        for layer in range(3):
            tensors[f"module.mae.dinov2_reg.layer.{layer}.weight"] = torch.zeros(5, 50)
        tensors["module.mae.siglip2.head.bias"] = torch.zeros(7)

    edit(folder, add)
    found = Inspected(folder, "--clip", clip)
    assert found.status == 0 and len(found.tensors) == 100
    reason = "only used by the training loss"
    assert found.tensors["dinov2_reg.*"] == ["ignored", "dinov2_reg.*", "3 tensors, 3,000 bytes", reason]
    assert found.tensors["siglip2.*"] == ["ignored", "siglip2.*", "1 tensor, 28 bytes", reason]


def test_without_config_json_the_published_shapes_are_missed(folder):
    (folder / "config.json").unlink()
    found = Inspected(folder / "videomae.pt")
    assert found.status == 1
    assert found.about["network"] == "VideoMAE, configured as published"
    assert found.tensors[TABLES["encoder times"]][2] == "is (32, 64), must be (256, 1024)"
    assert "it has no config.json; the published configuration was assumed" in found.errors


def test_a_pickle_that_wants_to_run_code_is_refused_in_one_line(folder, tmp_path):
    edit(folder, lambda tensors: tensors.update(more=Code(tmp_path / "ran")))
    for arguments in (["inspect", folder], ["convert", folder, tmp_path / "half"]):
        result = run("checkpoint", *arguments)
        assert result.exit_code == 1 and len(result.output.splitlines()) == 1
        assert "refused" in result.output and "mkdir" in result.output
    assert not (tmp_path / "ran").exists() and not (tmp_path / "half").exists()


def test_clips_that_cannot_be_used_are_told(folder, tmp_path):
    assert "does not exist" in Inspected(folder, "--clip", tmp_path / "none.mp4").errors
    Image.new("RGB", (32, 32)).save(tmp_path / "one.png")
    short = Inspected(folder, "--clip", tmp_path)
    assert short.status == 1 and "is too short" in short.errors
    save_checkpoint(Golden(TEST_DATA / "golden_rule").network, tmp_path / "gaze", license="Apache-2.0")
    result = run("checkpoint", "inspect", tmp_path / "gaze", "--clip", tmp_path)
    assert result.exit_code != 0 and "--clip is for checkpoints of VideoMAE" in result.output


def test_where_the_drive_is_not_all_else_is_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "autogaze_ros.synthetic.drive", None)
    found = Inspected(folder)
    assert found.status == 0 and len(found.tensors) == 98 and len(found.embeddings) == 6
    assert found.trial[0].startswith("Reconstruction was not tried: the synthetic drive needs numba")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_convert_writes_our_own_layout(folder, tmp_path, dtype):
    out = tmp_path / "out"
    result = run("checkpoint", "convert", folder / "videomae.pt", out, "--dtype", dtype)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((out / "config.json").read_text())
    before = json.loads((folder / "config.json").read_text())
    assert config == {**before, "model_type": "video_mae_autogaze", "license": VIDEO_MAE_LICENSE}
    published = {name.removeprefix("module.mae."): t for name, t in torch.load(SMALL).items()}
    stored = load_file(out / "model.safetensors")
    assert stored.keys() == published.keys()
    assert all(tensor.equal(published[name].to(getattr(torch, dtype))) for name, tensor in stored.items())
    assert load_reconstructor(out).network.config == load_reconstructor(folder).network.config
    assert VIDEO_MAE_LICENSE in result.stderr


def test_our_own_layout_is_recognized_by_its_tensors_too(folder, tmp_path, clip):
    assert run("checkpoint", "convert", folder, tmp_path / "out").exit_code == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    del config["model_type"]
    (tmp_path / "out" / "config.json").write_text(json.dumps(config))
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    save_file({**tensors, "siglip2.bias": torch.zeros(1)}, tmp_path / "out" / "model.safetensors")
    found = Inspected(tmp_path / "out")
    assert found.about["network"].startswith("VideoMAE") and found.about["tensors"].startswith(
        "98 as float16"
    )
    assert found.status == 1 and found.tensors["siglip2.bias"][0] == "unexpected"


@pytest.mark.slow
def test_download_keeps_the_published_file(tmp_path):
    (tmp_path / "hub").mkdir()
    publish_full_size(tmp_path / "hub")
    with serving(tmp_path / "hub") as hub:
        result = download(hub, tmp_path, OFFICIAL_VIDEO_MAE, "--accept-licence")
    assert result.returncode == 0, result.stderr
    got = tmp_path / "here" / "VideoMAE_AutoGaze"
    assert [path.name for path in got.iterdir()] == ["videomae.pt"]
    assert (got / "videomae.pt").read_bytes() == (tmp_path / "hub" / "videomae.pt").read_bytes()
    assert VIDEO_MAE_LICENSE in result.stderr and f"revision {NEWEST}" in result.stdout
    assert result.stdout.splitlines()[-1] == "Use it with --reconstruct VideoMAE_AutoGaze"


def test_what_does_not_load_is_not_kept(folder, tmp_path):
    (folder / "config.json").unlink()
    with serving(folder) as hub:
        result = download(hub, tmp_path, OFFICIAL_VIDEO_MAE, "--accept-licence")
    assert result.returncode == 1 and list((tmp_path / "here").iterdir()) == []
    assert "does not fit the published configuration" in result.stderr.splitlines()[-1]


def test_without_agreement_the_hub_is_not_asked(folder, tmp_path):
    with serving(folder) as hub:
        result = download(hub, tmp_path, OFFICIAL_VIDEO_MAE)
    assert result.returncode == 1 and hub.asked == []
    assert VIDEO_MAE_LICENSE in result.stderr and "--accept-licence" in result.stderr
