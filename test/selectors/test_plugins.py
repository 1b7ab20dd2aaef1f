"""Selectors of other packages, installed for real: a dist-info with entry points on Python's path."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clips import scene
from lab_packages import CODE, install

from autogaze_ros.errors import ParameterError, PluginError
from autogaze_ros.plugins import METRICS, SELECTORS, Plugins
from autogaze_ros.selectors import Request, base, create_selector

ROOT = Path(__file__).parents[2]
ENTRIES = """[autogaze_ros.selectors]
first = lab_gaze.mine:First
few = lab_gaze.mine:Few
broken = lab_gaze.broken:First
absent = lab_gaze.mine:Absent
nowhere = lab_gaze.nowhere:First
no_select = lab_gaze.mine:NoSelect
module_only = lab_gaze.mine

[console_scripts]
lab = lab_gaze.mine:main
"""


@pytest.fixture
def lab(install_lab):
    """A function that installs packages and returns the selectors as a new process finds them."""

    def add(entry_points=ENTRIES, **options):
        install_lab(entry_points, **options)
        return Plugins(
            "selector", group=SELECTORS.group, base="autogaze_ros.selectors.base:Selector",
            builtin=SELECTORS.builtin,
        )  # fmt: skip

    return add


@pytest.mark.parametrize("plugins", [SELECTORS, METRICS], ids=["selectors", "metrics"])
def test_every_built_in_class_is_where_its_line_says(plugins):
    known = plugins.load(next(iter(plugins.builtin)))
    for name, reference in plugins.builtin.items():
        if name != "upstream":  # it needs NVlabs' package only when it is constructed, but torch here
            found = plugins.load(name)
            assert f"{found.__module__}:{found.__qualname__}" == reference
            assert found.__mro__[-3] is known.__mro__[-3]  # ABC and object lie beneath the base class


def test_names_are_sorted_and_list_plugins_without_importing_them(lab, tmp_path):
    selectors = lab()
    assert selectors.names() == sorted(
        [*SELECTORS.builtin, "first", "few", "broken", "absent", "nowhere", "no_select", "module_only"]
    )
    for name in ("broken", "first", "lab_gaze.mine:First", "uniform"):
        selectors.check(name)
    with pytest.raises(ParameterError) as told:
        selectors.check("frist")
    names = ", ".join(selectors.names())
    assert str(told.value) == f"unknown selector 'frist'; known are {names}, and MODULE:CLASS"
    selectors.load("uniform")
    assert not (tmp_path / "site" / "lab_gaze" / "imported").exists()
    selectors.load("first")
    assert (tmp_path / "site" / "lab_gaze" / "imported").exists()


@pytest.mark.parametrize("name", ["first", "lab_gaze.mine:First"])
def test_a_plugin_is_found_by_entry_point_and_as_module_and_class(lab, name):
    selector = lab().create(name, chunk_size=4, checkpoint="embedded", device="cpu")
    assert isinstance(selector, base.Selector) and selector.chunk_size == 4
    stream = selector.open_stream()
    (gazes,) = selector.select([[Request(stream, None, 3.5 / 265, 0.0)]])
    assert gazes[0].token_ids.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["lab_gaze.mine:First", "lab_gaze.mine:Few"])
def test_results_have_the_name_that_was_asked_for(lab, name):
    lab()
    assert create_selector(name, chunk_size=4).info.selector == name


@pytest.mark.parametrize(
    "name, told",
    [
        ("broken", r"selector broken \(lab_gaze\.broken:First\) cannot be imported: ZeroDivisionError: "
                   r"of the lab \(/.*/lab_gaze/broken\.py:2\)"),
        ("absent", r"selector absent \(lab_gaze\.mine:Absent\): module lab_gaze\.mine has no Absent"),
        ("nowhere", r"cannot be imported: ModuleNotFoundError: No module named 'lab_gaze\.nowhere'"),
        ("module_only", r"selector module_only \(lab_gaze\.mine\): the entry point does not have the form"),
        ("no_such_lab.mine:First", r"selector no_such_lab\.mine:First cannot be imported: ModuleNotFound"),
        ("no_select", r"selector no_select \(lab_gaze\.mine:NoSelect\) lacks the method select$"),
        ("json:JSONDecoder", r"json:JSONDecoder lacks the method open_stream, preprocess, select$"),
        ("os:environ", r"selector os:environ is not a class"),
        ("lab_gaze.mine:Foreign", r"is not a subclass of autogaze_ros\.selectors\.base\.Selector"),
        ("lab_gaze.mine:Demanding", r"the constructor needs temperature, but is given only chunk_size"),
        ("lab_gaze.mine:Faulty", r"cannot be constructed: KeyError: 'weights' \(/.*/lab_gaze/mine\.py:\d+\)"),
        ("lab_gaze.ended:First", r"cannot be imported: SystemExit: 3 \(/.*/lab_gaze/ended\.py:1\)"),
        ("lab_gaze.typo:First", r"cannot be imported: SyntaxError: .*typo\.py, line 1"),
    ],
)  # fmt: skip
def test_a_plugin_at_fault_is_told_in_one_line(lab, name, told):
    more = {"ended.py": "raise SystemExit(3)", "typo.py": "class First", "mine.py": CODE}
    selectors = lab(files={**more, "broken.py": "x = 1\nraise ZeroDivisionError('of the lab')"})
    with pytest.raises(PluginError, match=told) as error:
        selectors.create(name, chunk_size=4)
    assert "\n" not in str(error.value)


def test_a_selector_without_a_chunk_size_is_refused(lab):
    lab()
    with pytest.raises(PluginError, match=r"Forgetful: the constructor does not set chunk_size"):
        create_selector("lab_gaze.mine:Forgetful")


@pytest.mark.parametrize(
    "name", ["", ":", "a:", ":b", "a b:c", "a:b:c", "a..b:c", "x" * 100_000, "ü\n:x", "../x:y"]
)
def test_what_is_no_name_is_refused(lab, name):
    with pytest.raises(ParameterError, match="unknown selector"):
        lab().load(name)


def test_an_error_of_a_built_in_class_stays_as_it_is():
    faulty = Plugins(
        "selector", group="autogaze_ros.none", base="autogaze_ros.selectors.base:Selector",
        builtin={"mine": "autogaze_ros.no_such_module:Mine"},
    )  # fmt: skip
    with pytest.raises(ModuleNotFoundError):
        faulty.load("mine")


def test_a_name_that_is_built_in_too_is_refused(lab):
    selectors = lab("[autogaze_ros.selectors]\nuniform = lab_gaze.mine:First\n")
    told = (
        r"selector uniform is ambiguous: autogaze_ros\.selectors\.untrained:UniformSelector of autogaze_ros"
        r" and lab_gaze\.mine:First of lab-gaze; give MODULE:CLASS instead"
    )
    with pytest.raises(PluginError, match=told):
        selectors.load("uniform")
    assert selectors.load("random") and selectors.load("lab_gaze.mine:First")
    assert selectors.load(SELECTORS.builtin["uniform"]).__name__ == "UniformSelector"


def test_a_name_of_two_packages_is_refused(lab):
    lab("[autogaze_ros.selectors]\nmine = lab_gaze.mine:First\nmy = lab_gaze.mine:First\n")
    selectors = lab(
        "[autogaze_ros.selectors]\nmine = lab_two.mine:First\nmy = lab_gaze.mine:First\n",
        name="other-lab",
        package="lab_two",
    )
    told = r"ambiguous: lab_gaze\.mine:First of lab-gaze and lab_two\.mine:First of other-lab"
    with pytest.raises(PluginError, match=told):
        selectors.load("mine")
    assert selectors.load("my").__name__ == "First"  # the same class twice


def test_live_only_names_and_what_was_imported_before(lab):
    selectors = lab()
    for name in ("uniform", "first"):
        selectors.check(name, live=True)
    with pytest.raises(ParameterError, match="would import code, which is accepted only at start"):
        selectors.check("lab_gaze.mine:First", live=True)
    selectors.load("lab_gaze.mine:First")
    selectors.check("lab_gaze.mine:First", live=True)
    with pytest.raises(ParameterError, match="would import code"):
        selectors.check("lab_gaze.mine:Few", live=True)


# Through the command line, in a process of its own.


def autogaze(site, *arguments):
    environment = {**os.environ, "PYTHONPATH": f"{site}:{ROOT / 'src'}"}
    command = [sys.executable, "-m", "autogaze_ros.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=site)


@pytest.mark.parametrize("name", ["first", "lab_gaze.mine:First"])
def test_gaze_and_compare_by_the_command_line(tmp_path, name):
    site, out = install(tmp_path / "site", ENTRIES), tmp_path / "out"
    options = ["--frames", 2, "--gazing-ratio", 0.02]
    result = autogaze(site, "gaze", "drive:900", "--selector", name, "--out", out, *options)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (out / "gazes.jsonl").read_text().splitlines()]
    assert [(line["selector"], line["token_ids"]) for line in lines] == [(name, [0, 1, 2, 3, 4])] * 2
    pair = ["--selector", "uniform", "--against", name]
    result = autogaze(site, "compare", "drive:900", *pair, *options, "--out", tmp_path / "compared.json")
    assert result.returncode == 0, result.stderr
    compared = json.loads((tmp_path / "compared.json").read_text())
    assert [info["selector"] for info in compared["selectors"]] == ["uniform", name]


def test_errors_by_the_command_line_are_one_line(tmp_path):
    site = install(tmp_path / "site", ENTRIES)
    for name, told in {
        "frist": "unknown selector 'frist'; known are ",
        "broken": "ZeroDivisionError: of the lab (",
        "no_select": "lacks the method select",
    }.items():
        result = autogaze(site, "gaze", "drive:900", "--selector", name, "--out", tmp_path / "out")
        assert result.returncode in (1, 2) and told in result.stderr
        assert "Traceback" not in result.stderr and not (tmp_path / "out").exists()
        assert sum(line.startswith("Error: ") for line in result.stderr.splitlines()) == 1


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)


def test_the_example_of_the_page_works(tmp_path):
    (code,), (project,) = blocks("selectors.md", "python"), blocks("selectors.md", "toml")
    entries = re.findall(r'^(\w+) = "(lab_gaze\.\w+:\w+)"', project, re.M)
    assert '[project.entry-points."autogaze_ros.selectors"]' in project and len(entries) == 1
    text = "[autogaze_ros.selectors]\n" + "\n".join(" = ".join(pair) for pair in entries)
    site = install(tmp_path / "site", text, files={"center.py": code})
    out = tmp_path / "out"
    result = autogaze(site, "gaze", "drive:900", "--out", out, "--selector", "center", "--frames", 2)
    assert result.returncode == 0, result.stderr
    first, second = [json.loads(line)["token_ids"] for line in (out / "gazes.jsonl").read_text().splitlines()]
    assert len(first) == len(set(first)) == 198 and first == second
    assert 4 + 16 + 24 in first[:2]  # the middle cell of 7x7


def test_the_streams_of_a_plugin_pass_the_pipeline(lab):
    from autogaze_ros.io.frames import Frame
    from autogaze_ros.pipeline import Pipeline

    lab()
    pipeline = Pipeline(create_selector("lab_gaze.mine:First", chunk_size=3), gazing_ratio=0.02)
    frames = [Frame(image, stamp) for stamp, image in enumerate(scene(5))]
    records = [gazed.record for gazed in pipeline.process(frames)]
    assert [record.index_in_context for record in records] == [0, 1, 2, 0, 1]
    assert {record.selector for record in records} == {"lab_gaze.mine:First"}
