"""Inputs of the command's part that once came out wrong."""

from kups_relax import io


def test_case_16_no_total_before_the_lines_are_counted(tmp_path):
    path = tmp_path / "many.smi"
    path.write_text("".join(f"{'C' * (1 + i % 9)} m{i}\n" for i in range(3000)))
    stream = io.Stream(str(path))
    # An exact number, or none; never one that is made of what has been read so far.
    assert stream.total in (None, 3000)
    for _ in range(5):
        next(stream)
    assert stream.total in (None, 3000)
