import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from hashlib import sha256

import pytest
import torch
from click.testing import CliRunner
from golden import TEST_DATA, Golden
from hub_double import NEWEST, download, serving
from safetensors.torch import load_file, save_file

from autogaze_ros.checkpoints.load import NVIDIA_LICENSE, OFFICIAL, REVISIONS, load_autogaze, save_checkpoint
from autogaze_ros.cli import cli
from autogaze_ros.errors import CheckpointError

EMBEDDING = "gazing_model.connector.pos_embed"
NORM = "gazing_model.gaze_decoder.model.norm.weight"
BIAS = "gazing_model.vision_model.norm.bias"
FILES = ["config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    save_checkpoint(Golden(TEST_DATA / "golden_rule").network, folder, license="Apache-2.0")
    return folder


@pytest.fixture
def weights(made, tmp_path):
    """A checkpoint to spoil."""
    return shutil.copytree(made, tmp_path / "weights")


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(*arguments):
    return CliRunner().invoke(cli, ["checkpoint", *map(str, arguments)])


def inspected(folder):
    """Output of inspect: exit status, the labelled rows, each tensor's row, and errors."""
    result = run("inspect", folder)
    about, _, table = result.stdout.partition("\n\n")
    rows = [line.split("  ", 1) for line in about.splitlines()]
    tensors = [[cell.strip() for cell in line.split("  ") if cell] for line in table.splitlines()]
    return result.exit_code, {k: v.strip() for k, v in rows}, {row[1]: row for row in tensors}, result.stderr


def test_inspect_tells_what_a_checkpoint_is(made):
    status, about, tensors, errors = inspected(made)
    assert status == 0 and errors == ""
    assert about["source"] == str(made) and about["revision"] == "none (local files)"
    assert about["sha256"] == sha256((made / "model.safetensors").read_bytes()).hexdigest()
    assert about["licence"] == "Apache-2.0" and about["network"] == "AutoGaze"
    assert about["scales"] == "32, 64, 112, 224 pixels, 265 tokens a frame"
    assert about["vision"] == "depth 1, width 192, patches 16x16 of 224x224"
    assert about["decoder"] == "depth 4, width 192, 6 heads, 10 tokens a step"
    assert about["parameters"] == "3,258,240"
    assert about["tensors"] == "49 as float32"
    assert len(tensors) == 49 and {row[0] for row in tensors.values()} == {"loaded"}
    assert tensors[EMBEDDING] == ["loaded", EMBEDDING, "(196, 192)", "float32"]


def test_inspect_tells_the_fate_of_every_tensor_of_a_misfit(weights):
    def spoil(tensors):
        del tensors[EMBEDDING]
        tensors["gazing_model.more"] = torch.zeros(3)
        tensors[NORM] = torch.zeros(7)
        tensors[BIAS] = tensors[BIAS].half()
        tensors[BIAS][5] = torch.nan

    edit_tensors(weights, spoil)
    status, about, tensors, errors = inspected(weights)
    assert status == 1
    assert about["tensors"] == "48 as float32, 1 as float16"
    faults = {name: row for name, row in tensors.items() if row[0] != "loaded"}
    assert len(tensors) == 50 and faults == {
        EMBEDDING: ["missing", EMBEDDING, "(196, 192)"],
        "gazing_model.more": ["unexpected", "gazing_model.more", "(3,)", "float32"],
        NORM: ["wrong shape", NORM, "is (7,), must be (192,)", "float32"],
        BIAS: ["not finite", BIAS, "(192,)", "float16"],
    }
    assert errors.splitlines()[-1].endswith("1 not finite, 1 missing, 1 wrong shape, 1 unexpected")
    with pytest.raises(CheckpointError) as refused:
        load_autogaze(weights)
    assert all(f"{row[0]} {name} {row[2]}" in str(refused.value) for name, row in faults.items())


def odd_size(folder):
    model = json.loads((folder / "config.json").read_text())["gaze_model_config"]
    model["gaze_decoder_config"]["intermediate_size"] = "many"
    edit_config(folder, gaze_model_config=model)


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def only_a_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def renamed_pickle(folder):
    torch.save({}, folder / "model.safetensors")


@pytest.mark.parametrize(
    "spoil, messages",
    [
        (truncate, ["not a readable safetensors file"]),
        (lambda f: (f / "config.json").write_text("{"), ["not readable JSON"]),
        (lambda f: edit_config(f, scales="32+64"), ["num_vision_tokens_each_frame says 265"]),
        (odd_size, ["config.json: "]),
        (lambda f: (f / "config.json").unlink(), ["has no config.json"]),
        (only_a_pickle, ["is missing", "pytorch_model.bin is a pickle", "weights_only=True"]),
        (renamed_pickle, ["not a readable safetensors file", "is a pickle", "save_file"]),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(weights, tmp_path, spoil, messages):
    spoil(weights)
    for arguments in (["inspect", weights], ["convert", weights, tmp_path / "half"]):
        result = run(*arguments)
        assert result.exit_code == 1 and len(result.output.splitlines()) == 1
        assert all(message in result.output for message in messages)
    assert not (tmp_path / "half").exists()


def test_a_file_is_no_checkpoint(weights, tmp_path):
    torch.save({}, tmp_path / "weights.bin")
    result = run("inspect", tmp_path / "weights.bin")
    assert result.exit_code == 1 and len(result.output.splitlines()) == 1
    assert "is not a folder" in result.output and "is a pickle" in result.output
    result = run("inspect", weights / "model.safetensors")
    assert "is not a folder" in result.output and "pickle" not in result.output


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_convert_changes_the_precision_and_nothing_else(weights, tmp_path, dtype):
    edit_config(weights, torch_dtype="float32", architectures=["AutoGaze"])
    result = run("convert", weights, tmp_path / "new" / "out", "--dtype", dtype)
    assert result.exit_code == 0, result.output
    out = tmp_path / "new" / "out"
    assert names(out) == FILES
    for path in (weights, out):
        assert f"{path}: {(path / 'model.safetensors').stat().st_size:,} bytes" in result.stdout
    assert "Apache-2.0" in result.stderr
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (weights, out))
    assert after == {**before, "torch_dtype": dtype} and after["architectures"] == ["AutoGaze"]
    stored = load_file(out / "model.safetensors")
    assert stored.keys() == load_file(weights / "model.safetensors").keys()
    for name, tensor in load_file(weights / "model.safetensors").items():
        assert stored[name].equal(tensor.to(getattr(torch, dtype)))
    assert inspected(out)[0] == 0


def test_convert_halves_by_default_and_keeps_nvidias_licence(weights, tmp_path):
    config = json.loads((weights / "config.json").read_text())
    del config["license"]
    (weights / "config.json").write_text(json.dumps(config))
    (tmp_path / "out").mkdir()
    assert run("convert", weights, tmp_path / "out").exit_code == 0
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {
        torch.float16
    }
    assert json.loads((tmp_path / "out" / "config.json").read_text())["license"] == NVIDIA_LICENSE


def test_what_half_precision_cannot_hold_is_named(weights, tmp_path):
    edit_tensors(weights, lambda tensors: tensors[NORM].fill_(70_000.0))
    result = run("convert", weights, tmp_path / "half")
    assert result.exit_code == 1 and len(result.output.splitlines()) == 1
    assert "too large for float16" in result.output and NORM in result.output and BIAS not in result.output
    assert not (tmp_path / "half").exists()
    assert run("convert", weights, tmp_path / "half", "--dtype", "bfloat16").exit_code == 0


def test_what_stands_in_a_folder_is_not_overwritten(weights, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").touch()
    for out in (weights, tmp_path / "notes", tmp_path / "notes" / "todo.txt"):
        for arguments in (
            ["convert", weights, out],
            ["download", OFFICIAL, "--accept-licence", "--out", out],
        ):
            result = run(*arguments)
            assert result.exit_code == 1
            assert re.search("exists already|name another output", result.output)
    assert names(tmp_path / "notes") == ["todo.txt"]
    assert load_autogaze(weights).license == "Apache-2.0"


@pytest.fixture
def hub(made, request):
    with serving(made, broken=getattr(request, "param", False)) as server:
        yield server


def requests(hub_id, revision):
    return {(method, f"/{hub_id}/resolve/{revision}/{file}") for method in ("HEAD", "GET") for file in FILES}


def test_download_at_the_pinned_revision(made, hub, tmp_path):
    result = download(hub, tmp_path, OFFICIAL, "--accept-licence")
    assert result.returncode == 0, result.stderr
    assert hub.files_asked == requests(OFFICIAL, REVISIONS[OFFICIAL])
    folder = tmp_path / "here" / "AutoGaze"
    assert names(folder) == FILES
    assert all((folder / file).read_bytes() == (made / file).read_bytes() for file in FILES)
    assert NVIDIA_LICENSE in result.stderr.splitlines()[0]
    digest = sha256((made / "model.safetensors").read_bytes()).hexdigest()
    assert result.stdout.splitlines() == [
        f"AutoGaze: revision {REVISIONS[OFFICIAL]}, sha256 {digest}",
        "Use it with --checkpoint AutoGaze",
    ]


def test_download_another_id_under_the_other_spelling(hub, tmp_path):
    result = download(hub, tmp_path, "someone/else", "--out", "my/gaze", "--accept-license")
    assert result.returncode == 0, result.stderr
    assert hub.files_asked == requests("someone/else", "main")
    assert f"my/gaze: revision {NEWEST}" in result.stdout
    assert "licence on https://huggingface.co/someone/else" in result.stderr
    assert names(tmp_path / "here" / "my" / "gaze") == FILES


@pytest.mark.parametrize("hub_id, licence", [(OFFICIAL, NVIDIA_LICENSE), ("someone/else", "huggingface.co")])
def test_without_agreement_the_hub_is_not_asked(hub, tmp_path, hub_id, licence):
    result = download(hub, tmp_path, hub_id)
    assert result.returncode == 1 and hub.asked == [] and names(tmp_path / "here") == []
    named, refused = result.stderr.splitlines()
    assert licence in named and "--accept-licence" in refused


@pytest.mark.parametrize("hub", [True], indirect=True)
def test_an_answer_that_breaks_off_leaves_nothing(hub, tmp_path):
    result = download(hub, tmp_path, OFFICIAL, "--accept-licence")
    assert result.returncode == 1 and names(tmp_path / "here") == []
    assert (
        "is not a local folder, and downloading it from the Hugging Face Hub failed"
        in result.stderr.splitlines()[-1]
    )
    assert "Traceback" not in result.stderr
    assert ("GET", f"/{OFFICIAL}/resolve/{REVISIONS[OFFICIAL]}/model.safetensors") in hub.asked


def test_what_does_not_load_is_not_kept(weights, hub, tmp_path):
    edit_tensors(weights, lambda tensors: tensors.pop(EMBEDDING))
    hub.folder = weights
    result = download(hub, tmp_path, "someone/else", "--revision", "v2", "--accept-licence")
    assert result.returncode == 1 and names(tmp_path / "here") == []
    assert hub.files_asked == requests("someone/else", "v2")
    assert f"missing {EMBEDDING}" in result.stderr.splitlines()[-1]


def test_an_unreachable_hub_is_told_in_one_line(hub, tmp_path):
    hub.shutdown()
    hub.server_close()
    result = download(hub, tmp_path, OFFICIAL, "--accept-licence")
    assert result.returncode == 1 and names(tmp_path / "here") == []
    _licence, error = result.stderr.splitlines()
    assert "by hand" in error and REVISIONS[OFFICIAL] in error


def test_only_an_id_can_be_downloaded(tmp_path):
    result = run("download", tmp_path, "--accept-licence")
    assert result.exit_code == 1 and "is not a hub id" in result.output.splitlines()[-1]


def test_an_id_is_inspected_from_the_hub(hub, tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "autogaze_ros.cli", "checkpoint", "inspect", "someone/else"],
        cwd=tmp_path, env=hub.environment(tmp_path / "home"), capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert NEWEST in result.stdout and hub.files_asked == requests("someone/else", "main")


@pytest.mark.parametrize("command", ["inspect", "download", "convert"])
def test_help_has_examples(command):
    text = run(command, "--help").output
    assert "Examples:" in text and f"autogaze checkpoint {command}" in text


@pytest.fixture
def script():
    """The installed command."""
    found = shutil.which("autogaze", path=sysconfig.get_path("scripts"))
    return found or pytest.skip("the command autogaze is not installed beside this Python")


def test_the_shell_can_complete(script):
    def ask(**environment):
        return subprocess.run(
            [script], env={**os.environ, **environment}, capture_output=True, text=True, check=True
        ).stdout

    assert "complete -o nosort -F _autogaze_completion autogaze" in ask(_AUTOGAZE_COMPLETE="bash_source")
    words = {"COMP_WORDS": "autogaze checkpoint in", "COMP_CWORD": "2"}
    assert ask(_AUTOGAZE_COMPLETE="bash_complete", **words).split() == ["plain,inspect"]
