import pytest
import torch
import torch.nn.functional as F
from golden import TEST_DATA, Golden, shared

from autogaze_ros.engines.autogaze import AutoGazeEngine
from autogaze_ros.engines.tiles import gaze_tiles
from autogaze_ros.networks.preprocessing import normalize
from autogaze_ros.tokens import AUTOGAZE_GRID, TokenGrid


@pytest.fixture(scope="module", params=["golden", "golden_rule"])
def golden(request):
    return Golden(shared("golden") if request.param == "golden" else TEST_DATA / "golden_rule")


@pytest.mark.parametrize("case", ["tiles_448_16", "tiles_392_14"])
def test_equal_to_the_original(golden, case):
    spec = golden.spec["cases"][case]
    frames = torch.stack([normalize(torch.from_numpy(frame)) for frame in golden.frames("large")])
    if spec["target_scales"][-1] == 392:
        frames = F.interpolate(frames, (392, 392), mode="bilinear", antialias=True)
    grid = TokenGrid(tuple(spec["target_scales"]), spec["target_patch_size"])
    engine = AutoGazeEngine(golden.network)
    gazes = gaze_tiles(engine, frames, grid, gazing_ratio=spec["gazing_ratio"])
    assert [gaze.token_ids.tolist() for gaze in gazes] == golden.gazes(case)
    for scale in range(4):
        masks = golden.outputs[f"{case}.mask_{scale}"]
        for gaze, mask in zip(gazes, masks, strict=True):
            assert grid.cells(gaze.token_ids)[scale].ravel().tolist() == mask.tolist()


def test_unfit_frames_and_grids_are_refused():
    engine = AutoGazeEngine(Golden(TEST_DATA / "golden_rule").network)
    with pytest.raises(ValueError, match="448"):
        gaze_tiles(engine, torch.zeros(1, 3, 224, 224), TokenGrid((64, 128, 224, 448)))
    with pytest.raises(ValueError, match="4 scales"):
        gaze_tiles(engine, torch.zeros(1, 3, 448, 448), TokenGrid((224, 448)))


def test_the_native_grid_is_one_tile():
    golden = Golden(TEST_DATA / "golden_rule")
    frames = torch.stack([normalize(torch.from_numpy(frame)) for frame in golden.frames("frames")[:2]])
    gazes = gaze_tiles(AutoGazeEngine(golden.network), frames, AUTOGAZE_GRID, gazing_ratio=0.2)
    assert [g.token_ids.tolist() for g in gazes] == [
        sorted(ids) for ids in golden.gazes("ratio_full_clip")[:2]
    ]
