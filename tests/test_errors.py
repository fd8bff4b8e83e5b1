"""What messages show of values, exceptions, ids and paths: one line, and nothing to obey."""

import logging
import subprocess

import pytest

from kups_relax._log import log
from kups_relax.errors import described, printable, shell_word, shown


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
        (type("\x1b[31m", (), {"__repr__": lambda self: "\x1b[31m"})(), r"\x1b[31m"),
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
        (ValueError("a\x1b[31m\u202e"), r"ValueError: a\x1b[31m\u202e"),
        (type("Mute", (ValueError,), {"__str__": Broken.__repr__})(), "Mute"),
        (ValueError("x" * 999), f"ValueError: {'x' * 285}..."),
    ],
)
def test_an_exception_is_told_on_one_line(error, text):
    assert described(error) == text


def test_control_characters_are_escaped_and_letters_are_not():
    assert printable("a\x1b]52;c;x\x07\nb\u202e") == r"a\x1b]52;c;x\x07\nb\u202e"
    assert printable("β-Å ü") == "β-Å ü"


@pytest.mark.parametrize(
    "text", ["out.h5", "a b", "it's", "$HOME", "a\nb", "\x1b[31m'\\x", "-o", ""]
)
def test_a_shell_reads_a_word_as_it_was(text):
    word = shell_word(text)
    assert word.isprintable()
    done = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert done.stdout.decode() == (f"./{text}" if text.startswith("-") else text)


def test_a_log_record_is_one_line(caplog):
    with caplog.at_level(logging.INFO, "kups_relax"):
        log.warning("%s: %s", "a\x1b[31m", ValueError("b\nc: converged"))
        logging.getLogger("kups_relax").info("100 %")
    assert [r.getMessage() for r in caplog.records] == [r"a\x1b[31m: b\nc: converged", "100 %"]
