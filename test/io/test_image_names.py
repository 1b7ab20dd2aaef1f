from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogaze_ros.io.image_folders import arrange


def arranged(names, rate=10.0):
    found = arrange([Path(name) for name in names], rate)
    return [path.name for path in found.paths], found.stamps, found


def milliseconds(stamps):
    return [stamp // 10**6 for stamp in stamps]


@given(st.permutations(range(8, 13)), st.sampled_from(["", "frame", "shot_", "cam2_", "a-b 1."]))
def test_numbers_count_as_numbers_whatever_stands_around_them(numbers, before):
    names, stamps, found = arranged([f"{before}{number}.png" for number in numbers])
    assert names == [f"{before}{number}.png" for number in range(8, 13)]
    assert milliseconds(stamps) == [800, 900, 1000, 1100, 1200] and not found.warnings


@pytest.mark.parametrize(
    "names, stamps",
    [
        (["1403636579763555584", "1403636579813555584"], [1403636579763555584, 1403636579813555584]),
        (["cam0_1403636579763555", "cam0_1403636579863555"], [1403636579763555000, 1403636579863555000]),
        (["1403636579763555584"], [1403636579763555584]),
        (["1532402927612", "1532402927662"], [1532402927612 * 10**6, 1532402927662 * 10**6]),
        (["1305031102.175304", "1305031102.211214"], [1305031102175304000, 1305031102211214000]),
        (["1623456789_050000000", "1623456789_100000000"], [1623456789050000000, 1623456789100000000]),
        (["0.05", "0.1", "0.15", "0.2", "10.0"], [50 * 10**6, 10**8, 150 * 10**6, 2 * 10**8, 10**10]),
        (["12.0", "13.0"], [12 * 10**9, 13 * 10**9]),
        (
            [
                f"n015-2018-07-24-11-22-45+0800__CAM_FRONT__{stamp}"
                for stamp in (1532402927612460, 1532402928112460)
            ],
            [1532402927612460000, 1532402928112460000],
        ),
        (["1700000000", "1700000003"], [1700000000 * 10**9, 1700000003 * 10**9]),
    ],
    ids=["ns", "us", "one", "ms", "TUM", "sec_nsec", "CARLA's clock", "whole seconds", "nuScenes", "s"],
)
def test_numbers_as_large_as_stamps_are_stamps(names, stamps):
    _, found, sequence = arranged([f"{name}.png" for name in names])
    assert found == stamps and sequence.declared and not sequence.warnings


@pytest.mark.parametrize(
    "names",
    [
        ["20240501123005", "20240501123006"],  # a date and a time of day
        ["100000000000", "100050000000"],  # nanoseconds of a simulation, or whatever else
        ["9" * 30, "9" * 29 + "0"],
        ["2024-05-01_12-30-05", "2024-05-01_12-30-06"],
        ["PXL_20240102_101112345.MP", "PXL_20240102_101112378.MP"],
        ["Screenshot 2024-01-02 at 10.11.05 AM", "Screenshot 2024-01-02 at 10.11.06 AM"],
        ["10-11-05", "10-11-06"],
        ["seq1_001", "seq2_002"],
    ],
)
def test_other_numbers_only_give_the_order(names):
    order, stamps, found = arranged([f"{name}.jpg" for name in names])
    assert order == sorted(f"{name}.jpg" for name in names)
    assert milliseconds(stamps) == [0, 100] and not found.declared


@given(st.lists(st.integers(0, 10**25), min_size=1, max_size=6, unique=True))
def test_stamps_rise_and_a_header_can_hold_them(numbers):
    _, stamps, _ = arranged([f"{number}.png" for number in numbers])
    assert len(stamps) == len(numbers) and stamps[0] >= 0 and stamps[-1] < 2**31 * 10**9
    assert all(a < b for a, b in pairwise(stamps))


def test_numbers_too_large_are_told():
    (warning,) = arranged(["100000000000.png", "100050000000.png"])[2].warnings
    assert "too large for frames" in warning


def test_of_two_images_of_one_number_one_is_taken_and_told():
    names, stamps, found = arranged([f"{n:05d}.{kind}" for n in range(3) for kind in ("jpg", "png")])
    assert names == ["00000.jpg", "00001.jpg", "00002.jpg"] and milliseconds(stamps) == [0, 100, 200]
    assert "00000.png (beside 00000.jpg)" in found.warnings[0]
    names, _, found = arranged(["1.png", "01.png", "2.png"])
    assert names == ["01.png", "2.png"] and "1.png (beside 01.png)" in found.warnings[0]
    assert arranged(["a.png", "b.png", "a.jpg"])[0] == ["a.png", "b.png"]  # the common format


def test_images_that_do_not_belong_are_left_out_and_told():
    names, _, found = arranged([*(f"{number}.png" for number in range(12)), "cover.png"])
    assert names == [f"{number}.png" for number in range(12)]
    assert "cover.png" in found.warnings[0]


def test_several_sequences_are_told():
    names, stamps, found = arranged(["left_1.png", "right_1.png", "left_2.png", "right_2.png"])
    assert names == ["left_1.png", "left_2.png", "right_1.png", "right_2.png"]
    assert (
        milliseconds(stamps) == [0, 100, 200, 300]
        and "several naming patterns (left_#, right_#;" in found.warnings[0]
    )


def test_many_gaps_are_one_line():
    (warning,) = arranged([f"{number}.png" for number in range(0, 1000, 5)])[2].warnings
    assert warning.startswith("images 1..4, 6..9, 11..14, ")
    assert warning.endswith(" and 187 more are missing; the stamps keep their gap")


def test_a_rate_may_be_asked_for():
    assert milliseconds(arranged(["3.png", "4.png"], rate=20.0)[1]) == [150, 200]


def test_numbers_below_zero_come_first_and_only_give_the_order():
    names, stamps, found = arranged(["-1.png", "0.png", "-2.png", "1.png"])
    assert names == ["-2.png", "-1.png", "0.png", "1.png"] and milliseconds(stamps) == [0, 100, 200, 300]
    assert "negative or too large" in found.warnings[0]
