"""Reading: seconds and memory for plain and hostile files, each in a process of its own."""

import bz2
import gzip
import io
import json
import lzma
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

MB = 1_000_000
# Text without a line end, as a file of each of these names.
ENDLESS = ("in.xyz", "in.extxyz", "in.sdf", "in.smi", "in.cif", "in.pdb", "POSCAR", "in.gen",
           "in.json", "vasprun.xml", "OUTCAR", "in.cube")  # fmt: skip


def argon(n: int) -> Iterator[str]:
    """Extended XYZ: frames of 8 atoms, 10 Angstrom."""
    random = np.random.default_rng(0)
    for _ in range(n):
        yield '8\nLattice="10 0 0 0 10 0 0 0 10" Properties=species:S:1:pos:R:3 energy=-1.5\n'
        for x, y, z in random.uniform(0, 10, (8, 3)).tolist():
            yield f"Ar {x:.8f} {y:.8f} {z:.8f}\n"


def large(n: int) -> Iterator[str]:
    """One frame, its atoms 3 Angstrom apart."""
    yield f"{n}\n\n"
    for i in range(n):
        yield f"Ar {3 * (i % 100)} {3 * (i // 100 % 100)} {3 * (i // 10_000)}\n"


def frames(path: Path) -> None:
    """20,000 frames."""
    path.write_text("".join(argon(20_000)))


def records(path: Path) -> None:
    """5,000 records of an SDF file."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles("CCOc1ccccc1"))
    AllChem.EmbedMolecule(mol, randomSeed=1)  # pyright: ignore[reportAttributeAccessIssue]
    path.write_text((Chem.MolToMolBlock(mol) + "$$$$\n") * 5_000)


def trajectory(path: Path) -> None:
    """20,000 frames of ASE's trajectory."""
    import ase.io
    from ase.build import bulk

    ase.io.write(path, [bulk("NaCl", "rocksalt", 5.6, cubic=True)] * 20_000)


def poscars(path: Path) -> None:
    """300 files in a folder."""
    import ase.io
    from ase.build import bulk

    path.mkdir()
    for i in range(300):
        atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True)
        ase.io.write(path / f"{i}.poscar", atoms, format="vasp")


def text(content: str, times: int = 1) -> Callable[[Path], Any]:
    """A file with this content, so many times, compressed as its name says."""

    def make(path: Path) -> None:
        packed = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
        path.write_bytes(packed.get(path.suffix, bytes)(content.encode() * times))

    return make


def false_trajectory(path: Path) -> None:
    """A trajectory whose header announces 10^12 frames."""
    import ase.io
    from ase.build import molecule

    file: Any = io.BytesIO()
    ase.io.write(file, molecule("H2O"), format="traj")
    content = file.getvalue()
    path.write_bytes(content[:32] + (10**12).to_bytes(8, "little") + content[40:])


def false_database(path: Path) -> None:
    """A table that is a view without an end."""
    import sqlite3

    import ase.io
    from ase.build import molecule

    ase.io.write(path, molecule("H2O"))
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE systems RENAME TO rows")
        connection.execute(
            "CREATE VIEW systems AS WITH RECURSIVE endless(n) AS (SELECT 1 UNION ALL SELECT n + 1 "
            "FROM endless) SELECT rows.* FROM rows, endless WHERE n < 0"
        )
    connection.close()


def repeated_sites(path: Path) -> None:
    """A CIF of 4,000 sites, each of which symmetry takes to 48 others."""
    rows = "".join(f"Cu{i} 0.{i:04}1 0.{i:04}2 0.{i:04}3\n" for i in range(4_000))
    path.write_text(
        "data_x\n_cell_length_a 50\n_cell_length_b 50\n_cell_length_c 50\n_cell_angle_alpha 90\n"
        "_cell_angle_beta 90\n_cell_angle_gamma 90\n_space_group_IT_number 225\nloop_\n"
        "_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n" + rows
    )


CELL = "x\n1.0\n5 0 0\n0 5 0\n0 0 5\n"
WATER = "3\n\nO 0 0 0\nH 1 0 0\nH 0 1 0\n"
CASES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "20,000 frames of 8 atoms": ("in.extxyz", frames),
    "5,000 records": ("in.sdf", records),
    "20,000 frames, ASE's trajectory": ("in.traj", trajectory),
    "300 POSCARs": ("folder", poscars),
    "100,000 atoms in a frame": ("in.xyz", lambda path: path.write_text("".join(large(100_000)))),
    **{f"one line of 100 MB, {name}": (name, text("1", 100 * MB)) for name in ENDLESS},
    "one line of 20 MB": ("in.xyz", text("1", 20 * MB)),
    "a line of 16 MB as a comment": (
        "in.xyz",
        lambda path: path.write_text("1\n" + "a" * 16 * MB + "\nAr 0 0 0\n"),
    ),
    "20 MB of returns": ("in.xyz", text("\r", 20 * MB)),
    "20 MB of false counts": ("in.xyz", text("9999999\nx\nAr 0 0 0\nAr 0 0 0\n", 800_000)),
    "a false count before 20 MB": (
        "in.xyz",
        lambda path: path.write_text("9999999\nx\n" + "Ar 0 0 0\n" * 2_200_000),
    ),
    "a gzip file of 300 kB that holds 300 MB": (
        "in.xyz.gz",
        text("1", 300 * MB),
    ),
    "the same, read by ASE": ("in.pdb.gz", text("END\n", 75 * MB)),
    "a bzip2 file that holds 300 MB": ("in.cif.bz2", text("x\n", 150 * MB)),
    "an xz file that holds 300 MB": ("OUTCAR.xz", text("x\n", 150 * MB)),
    "POSCAR, 10^9 atoms": ("POSCAR", text(f"{CELL}Cu\n999999999\nDirect\n0 0 0\n")),
    "XYZ, 10^9 atoms": ("in.xyz", text(WATER.replace("3", "999999999", 1))),
    "cube, 10^9 atoms": ("in.cube", text("x\ny\n999999999 0 0 0\n1 1 0 0\n1 0 1 0\n1 0 0 1\n")),
    "cube, a grid of 10^15 points": (
        "in.cube",
        text("x\ny\n1 0 0 0\n99999 1 0 0\n99999 0 1 0\n99999 0 0 1\n1 1 0 0 0\n0.1 0.2\n"),
    ),
    "cube, labels without an end": (
        "in.cube",
        text("x\ny\n-1 0 0 0\n1 1 0 0\n1 0 1 0\n1 0 0 1\n1 1 0 0 0\n9 1\n"),
    ),
    "GAMESS, a group without an end": ("in.dat", text(" $DATA\nx\nC1\n")),
    "cfg, 10^9 atoms, late": (
        "in.cfg",
        text("#\n" * 4_000 + "A = 1 Angstrom\nNumber of particles = 999999999\n"),
    ),
    "JSON, 10^6 brackets": ("in.json", text("[", MB)),
    "JSON, an array of 10^10 numbers": (
        "in.json",
        text(json.dumps({"1": {"numbers": {"__ndarray__": [[9999999999], "int64", [0]]}}})),
    ),
    "JSON, 20 MB of empty lists": (
        "in.json",
        lambda path: path.write_text("[" + "[]," * (20 * MB // 3) + "[]]"),
    ),
    "a trajectory of 10^12 frames": ("in.traj", false_trajectory),
    "a database whose table has no end": ("in.db", false_database),
    "a CIF of 4,000 sites and 192 symmetries": ("in.cif", repeated_sites),
    "SMILES, a ring of 10^5 atoms": ("in.smi", text("C1" + "C" * 100_000 + "1\n")),
    "SMILES, a ring of 4,990 atoms": ("in.smi", text("C1" + "C" * 4_990 + "1\n")),
    "2 MB of lines that are no SMILES": ("in.smi", text("!!!\n", 500_000)),
}


def main() -> dict[str, Any]:
    """Read each file in a process; what importing takes is not counted."""
    figures: dict[str, Any] = {}
    for name, (file, make) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / file
            make(path)
            size = path.stat().st_size if path.is_file() else 0
            command = [sys.executable, "-m", "benchmarks.inputs", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            figures[name] = {"file, MB": size / MB, **json.loads(done.stdout)}
            print(f"   {name}: {figures[name]}", flush=True)
    return figures


def read(path: str) -> dict[str, Any]:
    """Time one file, with what the process in which ASE reads takes."""
    import rdkit.Chem  # noqa: F401

    import kups_relax.io
    from kups_relax.errors import StructureError
    from kups_relax.io import _ase_files

    own, start, said = time.process_time(), time.perf_counter(), ""
    before = _peak("self")
    n = good = 0
    try:
        for entry in kups_relax.io.Stream(path):
            n += 1
            unreadable = isinstance(entry, kups_relax.io.Unreadable)
            good += not unreadable
            said = said or (str(entry) if unreadable else "")
    except StructureError as error:
        said = str(error)
    seconds, own = time.perf_counter() - start, time.process_time() - own
    memory = 0.0
    for worker in _ase_files._workers._idle:
        memory = max(memory, _peak(worker._process.pid))
        worker.kill()
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(seconds, 2),
        "processor seconds": round(own + theirs.ru_utime + theirs.ru_stime, 2),
        "memory, MB": round(_peak("self") - before, 1),
        # A process that was ended has said nothing: its bound is 512 MB and 32 times the file.
        "memory of ASE's process, MB": round(memory, 1),
        "structures": good,
        "entries": n,
        "said": said.replace(path, Path(path).name)[:250],
    }


def _peak(process: int | str) -> float:
    """The most memory that a process has had, MB; `ru_maxrss` is inherited."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / MB


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1])))
