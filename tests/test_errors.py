"""What messages show of values and exceptions: one line of bounded length."""

import pytest

from kups_relax.errors import described, shown


class Loud:
    def __repr__(self):
        return "\n".join(f"layer {i}" for i in range(108))


class Broken:
    def __repr__(self):
        raise RuntimeError("not now")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        ("a\nb", r"'a\nb'"),
        (Loud(), " ".join(f"layer {i}" for i in range(108))[:77] + "..."),
        (Broken(), "<Broken whose repr raised RuntimeError>"),
    ],
)
def test_a_value_is_shown_on_one_line(value, text):
    assert shown(value) == text
    assert len(shown(value)) <= 80


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError(119), "KeyError: 119"),
        (ValueError(), "ValueError"),
        (ValueError("a\n  b"), "ValueError: a b"),
        (ValueError("x" * 999), f"ValueError: {'x' * 285}..."),
    ],
)
def test_an_exception_is_told_on_one_line(error, text):
    assert described(error) == text
