"""Small whole files of each format that ASE or kups_relax writes, and of some others."""

import functools
import gzip
import os
import re
import tempfile
import warnings
from pathlib import Path

import ase
import ase.io
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io.formats import ioformats

import kups_relax as kr

# Formats that are no files of structures, or need a program to be written.
_LEFT_OUT = frozenset(
    {"png", "eps", "mp4", "gif", "pov", "animation", "postgresql", "mysql", "bundletrajectory"}
)
_TEXTS = {
    "in.lammpstrj": "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 10\n"
    "0 10\n0 10\nITEM: ATOMS id element x y z\n1 Cu 0 0 0\n2 Cu 2.5 0 0\n",
    "masses.lmp": "x\n\n2 atoms\n1 atom types\n\n0 10 xlo xhi\n0 10 ylo yhi\n0 10 zlo zhi\n\n"
    "Masses\n\n1 63.546\n\nAtoms # atomic\n\n1 1 0 0 0\n2 1 2.5 0 0\n",
    "in.smi": "SMILES name\nCCO ethanol\nC methane\n[NH4+].[Cl-] salt\n",
    "d.xyz": "3\nProperties=species:S:1:pos:R:3:masses:R:1 pbc=\"F F F\" charge=1\nD 0 0 0 2.014\n"
    "O 0 0 1 16\nH 0 1 1 1\n\n2\n\nAr 0 0 0\nAr 0 0 3.8\n",
    "symmetry.cif": "data_x\n_cell_length_a 5.64\n_cell_length_b 5.64\n_cell_length_c 5.64\n"
    "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
    "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_int_tables_number 225\nloop_\n"
    "_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n"
    "_atom_site_fract_z\n_atom_site_occupancy\nNa1 Na 0 0 0 1\nCl1 Cl 0.5 0.5 0.5 1\n",
    "car/POSCAR": "Na Cl\n1.0\n0 2.8 2.8\n2.8 0 2.8\n2.8 2.8 0\nNa Cl\n1 1\nSelective dynamics\n"
    "Direct\n0 0 0 T T F\n0.5 0.5 0.5 F F F\n",
    "in.mol2": "@<TRIPOS>MOLECULE\nx\n",
}  # fmt: skip


@functools.cache
def seeds() -> dict[str, bytes]:
    """Return the content of whole files by name."""
    found = {name: text.encode() for name, text in _TEXTS.items()}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, kind in sorted(ioformats.items()):
            if kind.can_write and kind.can_read and name not in _LEFT_OUT:
                found |= _by_ase(name, kind, Path(folder))
        found |= _ours(Path(folder))
    found = {
        name: content if _is_binary(name) else _dated(content) for name, content in found.items()
    }
    found["in.extxyz.gz"] = gzip.compress(found["ours.extxyz"], mtime=0)
    found["in.sdf.gz"] = gzip.compress(found["ours.sdf"], mtime=0)
    return found


def _is_binary(name: str) -> bool:
    return name.endswith((".h5", ".db", ".traj"))


def _dated(content: bytes) -> bytes:
    """Replace what differs between moments and folders, so that cases can be repeated."""
    content = content.replace(os.getcwd().encode(), b"/folder")
    for pattern, fixed in (
        (rb"([A-Z][a-z]{2} )?[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}", b"Jan 01 00:00:00 2026"),
        (rb"ASE\d{10}", b"ASE0101260000"),
        (rb'"([cm]time)": [\d.]+', rb'"\1": 26.5'),
        (rb'"unique_id": "\w+"', b'"unique_id": "%032d"' % 7),
    ):
        content = re.sub(pattern, fixed, content)
    return content


def _by_ase(name: str, kind: object, folder: Path) -> dict[str, bytes]:
    """Write with a writer of ASE what it can write: a crystal, else a molecule."""
    endings, globs = kind.extensions, kind.globs  # pyright: ignore
    pattern = globs[0].replace("*", "x") if globs and not endings else ""
    file = pattern or f"{name}.{endings[0] if endings else name}"
    salt = bulk("NaCl", "rocksalt", 5.64)
    salt.constraints = [FixAtoms([0])]
    salt.calc = SinglePointCalculator(salt, energy=-1.0, forces=[[0.0, 0, 1], [0, 0, -1]])
    several = [salt, salt.copy()]
    for given in (several, salt, molecule("CH3CH2OH")):
        path = folder / f"{name} {file}"
        path.unlink(missing_ok=True)
        try:
            ase.io.write(path, given, format=name)  # pyright: ignore
            content = path.read_bytes()
        except Exception:  # each writer has limits of its own
            continue
        if content and len(content) < 1 << 18:
            return {file: content}
    return {}


def _ours(folder: Path) -> dict[str, bytes]:
    from rdkit import Chem

    folder = folder / "ours"
    folder.mkdir()
    smiles = folder / "in.smi"
    smiles.write_text("CO methanol\nC methane\n")
    assert Chem.MolFromSmiles("C")
    mixed = [molecule("CH4"), molecule("H2O")]
    for ending in (".h5", ".sdf", ".extxyz", ".xyz", ".traj", ".db", ".csv"):
        given = str(smiles) if ending == ".sdf" else mixed
        kr.relax(given, "mmff94", max_steps=0, output=folder / f"ours{ending}", progress=False)
    salt = bulk("NaCl", "rocksalt", 5.64)
    argon = kr.potentials.LennardJones(0.01, 3.0, cutoff=6.0)
    for file in ("ours.cif", "ours.vasp"):
        kr.relax(salt, argon, max_steps=0, output=folder / file, progress=False)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
