"""Suggest potentials for an input, where the user has not named one."""

import importlib.util
import itertools
import pathlib
import textwrap
from collections.abc import Sequence

from kups_relax.errors import KupsRelaxError, OptionError, StructureError

# Structures that are looked at.
_SAMPLE = 20

# EMT's other elements are ASE's toy parameters.
_METALS = frozenset({"Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"})
_NOBLE = frozenset({"He", "Ne", "Ar", "Kr", "Xe", "Rn"})
_ORGANIC = frozenset({"H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I", "Si"})
_TERSOFF = frozenset({"Si", "C"})

_OWN = (
    "FILE.py:FUNCTION",
    "your function that returns a potential: any ASE calculator, such as GFN2-xTB for all elements "
    "up to radon, or a learned model; see kups-relax potentials",
)


def need_potential(potential: str | None, inputs: Sequence[pathlib.Path]) -> str:
    """Return the potential; without one, say which suit the input, the most sensible first.

    Raises:
        OptionError: None was named.
        StructureError: None was named, and the input holds no structure that can be read.
    """
    if potential is not None:
        return potential
    lines = "\n".join(
        f"  --potential {name}\n"
        + textwrap.indent(textwrap.fill(why, 70, break_on_hyphens=False), " " * 6)
        for name, why in suggestions(inputs)
    )
    raise OptionError(f"choose a potential with --potential. For this input:\n{lines}")


def suggestions(inputs: Sequence[pathlib.Path]) -> list[tuple[str, str]]:
    """Name potentials for an input, each with the reason."""
    from ase.data import chemical_symbols

    from kups_relax import io
    from kups_relax.data import Structure

    entries = list(itertools.islice(io.Stream(list(inputs)), _SAMPLE))
    structures = [entry for entry in entries if isinstance(entry, Structure)]
    if not structures:
        first = next(entry for entry in entries if isinstance(entry, io.Unreadable))
        raise StructureError(f"no structure of the input can be read. {first.id!r}: {first.reason}")
    elements = {chemical_symbols[int(z)] for s in structures for z in s.numbers}
    found = []
    if _all_fit("mmff94", structures):
        found.append(("mmff94", "made for organic molecules"))
    if elements <= _METALS:
        found.append(("emt", "made for these metals and their alloys"))
    if elements == {"Si"}:
        found.append(("stillinger-weber", "made for silicon"))
    if elements <= _TERSOFF and _all_fit("tersoff", structures):
        found.append(("tersoff", "made for silicon, carbon and silicon carbide"))
    if elements <= _NOBLE:
        found.append(
            (
                "lennard-jones:epsilon=...,sigma=...",
                "for noble gases; argon: epsilon=0.0104 eV, sigma=3.4 Angstrom; crystals need a "
                "cutoff too",
            )
        )
    found.append(_OWN)
    molecules = elements <= _ORGANIC and "C" in elements
    if molecules and found[0][0] != "mmff94" and not any(s.pbc.any() for s in structures):
        why = "for organic molecules that come with bonds: SDF, MOL, SMILES"
        if importlib.util.find_spec("rdkit") is None:
            why = "for organic molecules; needs RDKit: pip install 'kups-relax[rdkit]'"
        found.append(("mmff94", why))
    return found


def _all_fit(name: str, structures: Sequence[object]) -> bool:
    from kups_relax.potentials import NAMED

    try:
        for structure in structures:
            NAMED[name]().prepare(structure)  # pyright: ignore[reportArgumentType]
    except KupsRelaxError:
        return False
    return True
