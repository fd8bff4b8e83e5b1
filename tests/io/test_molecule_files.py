"""SDF and SMILES files: what RDKit would take too long for, and what does not end."""

from pathlib import Path

import pytest
from ase import Atoms

from kups_relax.errors import StructureError
from kups_relax.io import Stream, Unreadable, structures_from
from kups_relax.io._molecule_files import (
    LARGEST_RECORD,
    LONGEST_RECORD,
    LONGEST_SMILES,
    MOST_HELD,
    records,
)

pytest.importorskip("rdkit", reason="reads SDF and SMILES")

HEAD = "\n  x\n\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\n"


def test_smiles_that_are_too_long_are_refused_beside_others(tmp_path: Path) -> None:
    ring = "C1" + "C" * LONGEST_SMILES + "1"
    (tmp_path / "in.smi").write_text(f"{ring} large\nC small\n")
    stream = Stream(tmp_path / "in.smi")
    assert stream.total == 2
    large, small = stream
    assert isinstance(large, Unreadable)
    assert f"has {len(ring)} characters; expected at most {LONGEST_SMILES}" in large.reason
    assert len(large.reason) < 500
    assert small.id == "small"


@pytest.mark.parametrize("n", [LARGEST_RECORD + 1, 999_999_999, 10**30])
def test_records_of_more_atoms_than_rdkit_can_bear_are_refused(tmp_path: Path, n: int) -> None:
    end = "M  V30 END CTAB\nM  END\n$$$$\n"
    (tmp_path / "in.sdf").write_text(f"{HEAD}M  V30 COUNTS {n} 0 0 0 0\n{end}" * 2)
    [entry, *_] = structures_from([tmp_path / "in.sdf", Atoms("Ar")])
    assert isinstance(entry, Unreadable)
    assert f"expected at most {LARGEST_RECORD} where there are bonds" in entry.reason


def test_a_record_without_an_end_is_refused() -> None:
    lines = ["x" * 1000] * (LONGEST_RECORD // 1000)
    with pytest.raises(StructureError, match=r"in\.sdf: record 1 has more than"):
        list(records(["$$$$", *lines], Path("in.sdf")))


def test_many_lines_that_are_no_smiles_are_not_held_back(tmp_path: Path) -> None:
    path = tmp_path / "in.smi"
    path.write_text("!\n" * (MOST_HELD - 1))
    with pytest.raises(StructureError, match="no line begins with a SMILES"):
        structures_from(path)
    path.write_text("!\n" * MOST_HELD)
    stream = Stream([path, path])
    assert stream.total == 2 * MOST_HELD
    assert isinstance(next(stream), Unreadable)
