"""Relax conformers of real molecules, and say how the results compare with RDKit's and ASE's.

Run it with `make demo`, or `python examples/demo.py [SMILES or SDF file] [conformers]`.
"""

import pathlib
import sys
import time
from typing import Any

import ase.units
import numpy as np
from ase.optimize import LBFGS
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers as forcefields

import kups_relax as kr
from kups_relax.ase import JaxCalculator
from kups_relax.report import write_report

HERE = pathlib.Path(__file__).parent
FMAX = 0.01


def main(source: str, n_conformers: int, folder: pathlib.Path) -> int:
    """Relax, compare, verify, write; return the exit status."""
    say("1", "Relax")
    start = time.perf_counter()
    structures = kr.io.structures_from(source, n_conformers=n_conformers)
    read = time.perf_counter() - start
    say("", f"{source}: {len(structures)} conformers, embedded by RDKit in {read:.1f} s")

    potential, path = kr.potentials.MMFF94(), folder / "relaxed.h5"
    start = time.perf_counter()
    store = kr.relax(structures, potential, fmax=FMAX, output=path, overwrite=True)
    seconds = time.perf_counter() - start
    say("", f"{store}")
    say("", f"to {FMAX} eV/A with MMFF94 in {seconds:.1f} s, compiling included:")
    median = int(np.median(store.n_steps))
    say("", f"{store.n_evaluations.sum():,} evaluations, {median} steps (median)")
    done = np.flatnonzero(store.converged)
    if not len(done):
        return 1
    say("2", "Compare with RDKit: the same force field, the same geometries")
    sample = chosen(done, 60)
    worst = max(abs(store.energy[i] - rdkit_energy(store.topology(i), store[i])) for i in sample)
    say("", f"energies of {len(sample)} differ by {worst:.0e} eV at most")

    say("3", "Compare with ASE: the same potential and starts, one by one and at once")
    sample = of_one_size(store, done, 6)
    starts = [structures[i] for i in sample]
    n_steps, seconds = ase_lbfgs(starts, potential)
    start = time.perf_counter()
    ours = kr.relax(starts, potential, fmax=FMAX)
    here = time.perf_counter() - start
    say("", f"{len(starts)} conformers, ase.optimize.LBFGS: {n_steps:5d} steps, {seconds:5.2f} s")
    n_steps = ours.n_steps.sum()
    say("", f"{len(starts)} conformers, kr.relax:           {n_steps:5d} steps, {here:5.2f} s")
    say("", "(both without compiling; ASE asks JaxCalculator, which is this MMFF94)")

    say("4", "Verify: relax a sample alone and in random batches, in random order")
    sample = [structures[i] for i in chosen(np.arange(len(store)), 8)]
    report = kr.verify(sample, potential, draws=5)
    say("", str(report))
    say("", "(A mismatch is a result with any bit unlike alone: of coordinates, energy, forces,")
    say("", "number of steps or status. There is no tolerance.)")

    store.write(folder / "relaxed.sdf", overwrite=True)
    write_report(store, folder / "relaxed.html", overwrite=True)
    say("5", "Open next")
    for name, what in {
        f"{folder}/relaxed.sdf": "the conformers, with energies and status, for any viewer",
        f"{folder}/relaxed.html": "a page about the run, for a browser",
        f"{path}": f"all of it: kr.open, or kups-relax info {path}",
        "README.md": '"Ten lines" to relax your own; "Crystals", "In ASE"',
    }.items():
        say("", f"{name:18s} {what}")
    return 0 if report.ok and store.converged.all() else 1


def say(number: str, text: str) -> None:
    """Print a line of the story; numbers begin a part."""
    print(f"{number:2s} {text}", flush=True)


def chosen(places: np.ndarray, n: int) -> list[int]:
    """Return at most n of some places, evenly spread."""
    return places[np.unique(np.linspace(0, len(places) - 1, n).astype(int))].tolist()


def of_one_size(store: kr.Store, places: np.ndarray, n: int) -> list[int]:
    """Return at most n of some places, of sizes around the median: one program, or two."""
    order = places[np.argsort(store.n_atoms[places], kind="stable")]
    return order[max(0, (len(order) - n) // 2) :][:n].tolist()


def rdkit_energy(topology: Any, atoms: ase.Atoms) -> float:
    """Evaluate RDKit's MMFF94 where the atoms are, in eV."""
    properties = forcefields.MMFFGetMoleculeProperties(topology)
    mol = Chem.Mol(topology)
    mol.RemoveAllConformers()
    conformer = Chem.Conformer(len(atoms))
    conformer.SetPositions(atoms.positions)
    mol.AddConformer(conformer)
    field = forcefields.MMFFGetMoleculeForceField(mol, properties)
    return field.CalcEnergy() * ase.units.kcal / ase.units.mol


def ase_lbfgs(starts: list[kr.Structure], potential: Any) -> tuple[int, float]:
    """Relax one after the other by ASE's L-BFGS; return steps, and seconds without compiling."""
    n_steps, seconds = 0, 0.0
    for structure in starts:
        atoms = kr.io.to_atoms(structure, structure.positions)
        atoms.calc = JaxCalculator(potential)
        atoms.get_forces()
        start = time.perf_counter()
        run = LBFGS(atoms, logfile=None)
        run.run(fmax=FMAX, steps=1000)
        n_steps, seconds = n_steps + run.nsteps, seconds + time.perf_counter() - start
    return n_steps, seconds


if __name__ == "__main__":
    smiles = sys.argv[1] if len(sys.argv) > 1 else str(HERE / "molecules.smi")
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    out = pathlib.Path("out")
    out.mkdir(exist_ok=True)
    sys.exit(main(smiles, count, out))
