"""The weights inside the package, by name."""

import subprocess
import sys
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest
import torch
from click.testing import CliRunner
from clips import scene
from safetensors.torch import load_file

from autogaze_ros import __version__
from autogaze_ros.checkpoints.embedded import EMBEDDED, GAZE, GAZE_DRIVING, IMPORTANCE, RECONSTRUCTOR, about
from autogaze_ros.checkpoints.load import (
    convert,
    inspect,
    load_autogaze,
    load_importance,
    load_reconstructor,
    save_checkpoint,
)
from autogaze_ros.cli import cli
from autogaze_ros.io.frames import Frame
from autogaze_ros.parameters import EMBEDDED_DRIVING
from autogaze_ros.pipeline import Pipeline
from autogaze_ros.reconstruction import Reconstructor
from autogaze_ros.selectors import create_selector
from autogaze_ros.tokens import AUTOGAZE_GRID

ROOT = Path(__file__).parents[2]
MOST = 19 * 2**20  # bytes of all together
BY_NAME = [
    (load_autogaze, EMBEDDED, GAZE),
    (load_autogaze, EMBEDDED_DRIVING, GAZE_DRIVING),
    (load_reconstructor, EMBEDDED, RECONSTRUCTOR),
    (load_importance, EMBEDDED, IMPORTANCE),
]


def of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")
                  if path.is_file() and path.suffix not in (".py", ".pyc"))  # fmt: skip


@pytest.mark.parametrize("load, name, folder", BY_NAME)
def test_the_name_means_the_packages_own(load, name, folder):
    loaded, named = load(name), load(folder)
    assert (loaded.source, loaded.folder, loaded.sha256) == (name, folder, named.sha256)
    assert (loaded.license, loaded.revision) == ("Apache-2.0", f"autogaze_ros {__version__}")
    assert getattr(loaded.network.config, "grid", AUTOGAZE_GRID) == AUTOGAZE_GRID


@pytest.mark.parametrize("load, name, folder", BY_NAME)
def test_stored_in_half_precision_it_runs_in_single(load, name, folder):
    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.float16}
    assert {t.dtype for t in load(name).network.state_dict().values()} == {torch.float32}


def test_a_folder_of_the_same_name_must_be_named_as_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = load_autogaze(EMBEDDED).network
    network.gazing_model.connector.pos_embed.add_(1.0)
    save_checkpoint(network, "embedded", license="mine")
    assert load_autogaze(EMBEDDED).license == "Apache-2.0"
    assert load_autogaze("./embedded").license == "mine"


def test_gazes_and_reconstructions_come_of_them():
    selector = create_selector("autogaze", checkpoint=EMBEDDED, device="cpu")
    pipeline = Pipeline(selector, gazing_ratio=0.1, task_loss_requirement=0.0)
    reconstructor = Reconstructor(EMBEDDED, chunk_size=16, device="cpu")
    for number, image in enumerate(scene(2)):
        reconstructor.take(pipeline.process([Frame(image, number)])[0])
        (made,) = reconstructor.make()
        assert made.picture.isfinite().all() and made.image().shape == (224, 398, 3)
    assert selector.info.positions == load_autogaze(EMBEDDED).network.config.decode_positions


def test_they_are_small():
    assert sum((GAZE.parent / file).stat().st_size for file in of(GAZE.parent)) <= MOST


def test_they_are_inspected_and_converted_by_name(tmp_path):
    assert inspect(EMBEDDED).fits
    result = CliRunner().invoke(cli, ["checkpoint", "inspect", EMBEDDED])
    assert result.exit_code == 0 and f"autogaze_ros {__version__}" in result.output
    _, copy = convert(EMBEDDED, tmp_path / "copy", "float32")
    assert copy.license == "Apache-2.0"


def test_it_is_said_whose_they_are():
    assert about(EMBEDDED, "Apache-2.0") == (
        "embedded: weights of this project, not NVIDIA's, under Apache-2.0"
    )
    assert about("my/weights", "MIT") == "my/weights: weights under MIT"


def test_a_wheel_holds_them(tmp_path):
    ignored = ignore_patterns(".venv", "build", ".git", "test", "demo_out", "*.egg-info", "__pycache__")
    copytree(ROOT, tmp_path / "tree", ignore=ignored)
    command = [
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        tmp_path,
        tmp_path / "tree",
    ]
    subprocess.run([sys.executable, "-m", *map(str, command)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = "autogaze_ros/checkpoints/weights/"
    names = [
        name.removeprefix(inside) for name in zipfile.ZipFile(wheel).namelist() if name.startswith(inside)
    ]
    assert sorted(name for name in names if not name.endswith(".py")) == of(GAZE.parent)
    assert {f"{folder}/{file}" for folder in ("gaze", "gaze_driving", "importance", "reconstructor")
            for file in ("config.json", "model.safetensors")} <= set(names)  # fmt: skip
