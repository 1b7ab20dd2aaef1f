import inspect
import re

import pytest

from autogaze_ros import errors
from autogaze_ros.errors import AutoGazeError, MissingPackageError, needs


def test_what_is_missing_is_told_in_one_line():
    message = r"^counting needs abacus \(pip install abacus\): No module named 'no_such_name'$"
    with pytest.raises(MissingPackageError, match=message), needs("abacus", "counting"):
        import no_such_name  # noqa: F401


def test_other_errors_pass():
    with pytest.raises(LookupError), needs("abacus", "counting"):
        raise LookupError


def test_the_tree_at_the_top_of_the_file_is_the_tree():
    drawn, parents = {}, ["Exception"]
    for indent, name in re.findall(r"^( *)[*+-] (\w+)", inspect.getdoc(errors) or "", re.M):
        parents[len(indent) // 2 + 1 :] = [name]
        drawn[name] = parents[-2]
    classes = (kind for kind in vars(errors).values() if isinstance(kind, type))
    assert drawn == {
        kind.__name__: kind.__base__.__name__ for kind in classes if issubclass(kind, AutoGazeError)
    }
