"""Frames of XYZ files: each line is looked at once, whatever counts say."""

import itertools
from collections.abc import Iterator

import pytest

from kups_relax.io._xyz import cut_frames


def counted(lines: list[str], seen: list[int]) -> Iterator[str]:
    for line in lines:
        seen[0] += 1
        yield line


@pytest.mark.parametrize("count", ["9", "9999999", "999999999"])
def test_a_false_count_takes_no_more_than_its_own_lines(count: str) -> None:
    seen = [0]
    lines = [count, "x", "Ar 0 0 0", "Ar 0 0 0"] * 3000
    frames = cut_frames(counted(lines, seen))
    for number, frame in enumerate(itertools.islice(frames, 100)):
        assert frame.line == 4 * number + 1
        assert f"announces {count} atoms, but line {4 * number + 5}, among them" in frame.problem
    assert seen[0] < 410


@pytest.mark.parametrize(
    ("text", "lines", "problems"),
    [
        ("1\n\nH 0 0 0\n\n\n", [1], [""]),
        ("2\n\nH 0 0 0\n\n", [1], ["file ends before"]),
        ("2\n\nH 0 0 0\n\n1\n\nH 0 0 0\n", [1, 5], ["line 4, among them, is ''", ""]),
        ("1\n\nH 0 0 0\nH 0 0 0\n1\n\nH 0 0 0", [1, 5], ["line 4, after them", ""]),
        ("1\n\nH 0 0 0\nVEC1 1 0 0\n\n1\n\nH 0 0 0", [1, 6], ["", ""]),
        ("0\n", [1], ["file ends before"]),
    ],
)
def test_frames_begin_where_they_begin(text: str, lines: list[int], problems: list[str]) -> None:
    frames = list(cut_frames(text.splitlines()))
    assert [frame.line for frame in frames] == lines
    for frame, problem in zip(frames, problems, strict=True):
        assert problem in frame.problem
        assert bool(problem) == bool(frame.problem)
