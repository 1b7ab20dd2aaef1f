import pytest

from autogaze_ros.errors import needs


class CountingError(ValueError):
    pass


@pytest.mark.parametrize("error", [ValueError, CountingError])
def test_what_is_missing_is_told_in_one_line(error):
    message = r"^counting needs abacus \(pip install abacus\): No module named 'no_such_name'$"
    with pytest.raises(error, match=message), needs("abacus", "counting", error):
        import no_such_name  # noqa: F401


def test_other_errors_pass():
    with pytest.raises(LookupError), needs("abacus", "counting"):
        raise LookupError
