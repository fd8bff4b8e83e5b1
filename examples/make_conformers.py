"""Write conformers of the example molecules to an SDF file, as input to try things on.

python examples/make_conformers.py 10 conformers.sdf
"""

import sys
from pathlib import Path

from kups_relax.io import Unreadable, check_output, structures_from, to_atoms, write


def main(n_conformers: int, output: str) -> None:
    """Embed each molecule `n_conformers` times and write what was made."""
    check_output(output, overwrite=True)
    entries = structures_from(Path(__file__).with_name("molecules.smi"), n_conformers=n_conformers)
    for entry in entries:
        if isinstance(entry, Unreadable):
            print(entry, file=sys.stderr)
    atoms = [None if isinstance(e, Unreadable) else to_atoms(e, e.positions) for e in entries]
    write(output, atoms, entries, {"id": [entry.id for entry in entries]})
    print(f"{sum(a is not None for a in atoms)} structures in {output}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(int(sys.argv[1]), sys.argv[2])
