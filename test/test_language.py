"""Language of docstrings and texts: technical English, as CONTRIBUTING asks for."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "test", "benchmarks", "examples", "launch", "scripts")
# Phrases that read like a translation; each has been replaced once.
PHRASES = (
    "Whether overlay shows the reconstruction",
    "then it comes when that is made",
    "is no camera's",
    "and the Hugging Face hub did not give",
    "since what they asked for cannot be",
    "and not itself waits",
    "are those that come, and whether it stops",
    "Dependencies that are not there",
    "Nothing to mend",
    "what is read are the files",
    "is no regular file",
)


def docstrings():
    """Yield the path and the docstring of every module, class and function."""
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(ROOT), ast.get_docstring(node) or ""


def test_docstrings_begin_with_a_verb_or_a_noun():
    question = re.compile(r"(What|Whether|How|Who|Where|When|Which|Why)\b")
    found = [f"{path}: {text.splitlines()[0]}" for path, text in docstrings() if question.match(text)]
    assert not found, "\n".join(found)


def texts():
    """Yield the path and the text of every source and page, without line breaks."""
    folders = (*FOLDERS, "docs", "msg", "config")
    paths = [
        *ROOT.glob("*.*"),
        *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.*"))),
    ]
    for path in paths:
        if path.suffix in (".md", ".msg", ".py", ".rst", ".yaml") and path != Path(__file__):
            yield path.relative_to(ROOT), re.sub(r'"?\s*\n\s*(# ?|f?")?', " ", path.read_text())


def test_no_text_reads_like_a_translation():
    found = [f"{path}: {phrase}" for path, text in texts() for phrase in PHRASES if phrase in text]
    assert not found, "\n".join(found)
