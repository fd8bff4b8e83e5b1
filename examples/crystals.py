"""Relax a folder of CIF files, atoms and cells: lattice constants before and after, and a plot.

`python examples/crystals.py [folder of CIF files]`; without one, crystals are made. The plot needs
matplotlib.
"""

import pathlib
import sys

import numpy as np
from ase import Atoms
from make_crystals import write

import kups_relax as kr

STEPS = [0, 1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 50]


def lattice(atoms: Atoms) -> str:
    """Lengths in Angstrom, angles in degrees, volume of an atom in Angstrom^3."""
    a, b, c, alpha, beta, gamma = atoms.cell.cellpar()
    each = atoms.get_volume() / len(atoms)
    return f"{a:6.3f} {b:6.3f} {c:6.3f}  {alpha:6.2f} {beta:6.2f} {gamma:6.2f}  {each:6.2f}"


def main(folder: pathlib.Path, output: pathlib.Path) -> int:
    """Relax, print the table, draw."""
    files = sorted(folder.glob("*.cif"))
    start = kr.io.structures_from(files)
    options = {"potential": kr.potentials.EMT(), "cell": kr.FrechetCell(), "fmax": 0.01}
    result = kr.relax(start, output=output / "crystals.extxyz", overwrite=True, **options)

    title = "a      b      c      alpha  beta   gamma  A^3/atom"
    print(f"{'':8s} {title:52s}   {title:52s} steps  eV/atom")
    for i, (before, after) in enumerate(zip(start, result.atoms, strict=True)):
        print(
            f"{result.ids[i]:8s} {lattice(before.atoms)}   {lattice(after)} {result.n_steps[i]:6d} "
            f"{result.energy[i] / result.n_atoms[i]:8.4f} {result.status[i]}"
        )
    print(result)

    # The path of each: what it gets after so many steps is the same as on the way.
    energies = [kr.relax(start, max_steps=n, **options).energy for n in STEPS]
    draw((np.array(energies) - result.energy) / result.n_atoms, result.ids, output / "energy.png")
    return 0 if result.converged.all() else 1


def draw(excess: np.ndarray, names: list[str], path: pathlib.Path) -> None:
    """Plot energy against step."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print("no plot: pip install matplotlib")
        return
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.95, len(names)))
    for curve, name, colour in zip(excess.T, names, colours, strict=True):
        axes.semilogy(STEPS, np.maximum(1e3 * curve, 1e-4), "o-", ms=3, color=colour, label=name)
    axes.set(
        xlabel="step", ylabel="energy above the end (meV/atom)", title="Relaxing atoms and cells"
    )
    axes.legend(fontsize="small", ncols=2, frameon=False)
    figure.savefig(path, dpi=150)
    print(f"plotted to {path}")


if __name__ == "__main__":
    where = pathlib.Path("out")
    where.mkdir(exist_ok=True)
    if len(sys.argv) < 2:
        write(where / "crystals")
    sys.exit(main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else where / "crystals", where))
