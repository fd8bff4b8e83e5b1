"""What the command says of outputs that are no store."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from kups_relax.cli import _print
from kups_relax.cli._stoppable import what_is_left
from kups_relax.errors import LeftOutWarning
from made_stores import made_record, made_store


def test_a_stopped_run_names_the_store_beside_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.extxyz"
    assert what_is_left(output) == f"stopped; nothing is in {output}.h5 yet"
    rng = np.random.default_rng(0)
    made_store(Path(f"{output}.h5"), [made_record(i, rng) for i in range(3)], complete=False)
    words = ["relax", "in.xyz", "--potential", "emt", "-o", str(output)]
    monkeypatch.setattr("sys.argv", ["kups-relax", *words, "--overwrite"])
    left = f"{output}.h5 holds 3 finished structures. Go on with: "
    command = " ".join(["kups-relax", *words, "--resume"])
    assert what_is_left(output) == f"stopped; {left}{command}"
    assert "nothing was written" in what_is_left(None)


def test_warnings_are_one_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", _print.show_warning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = _print.show_warning
        warnings.warn("'out.db': 'a': left out info['x']", LeftOutWarning, stacklevel=1)
    assert capsys.readouterr().err == "kups-relax: 'out.db': 'a': left out info['x']\n"
