"""Coordinates by RDKit's ETKDGv3; and the program that makes them in a process of its own.

The process runs this file by its path. It imports neither the rest of the package nor JAX, so that
it is there in half a second.
"""

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from rdkit.Chem import Mol

# (n_made, n_atoms, 3) coordinates, Angstrom; or what RDKit raised.
Answer: TypeAlias = np.ndarray | str

# Seconds without anything to do after which a process ends.
_IDLE = 60.0


def embed(mol: "Mol", n_wanted: int, seed: int) -> np.ndarray:
    """Embed a molecule.

    Args:
        mol: With all hydrogens.
        n_wanted: Number of conformers.
        seed: RDKit's.

    Returns:
        (n_made, n_atoms, 3), Angstrom; n_made is 0 where RDKit finds no coordinates.
    """
    from rdkit.Chem import rdDistGeom

    options = rdDistGeom.ETKDGv3()
    options.randomSeed = seed
    # The default multiplies the seed by the conformer's number: all alike for seed 0.
    options.enableSequentialRandomSeeds = True
    options.numThreads = 1
    for random_start in (False, True):
        options.useRandomCoords = random_start
        if len(rdDistGeom.EmbedMultipleConfs(mol, n_wanted, options)):
            break
    positions = [conformer.GetPositions() for conformer in mol.GetConformers()]
    return np.array(positions, np.float64).reshape(-1, mol.GetNumAtoms(), 3)


def described(error: Exception) -> str:
    """Tell what RDKit raised in a line: its own reports have many, with places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {'; '.join(lines[:2])[:200]}".rstrip(".: ")


def main(connection: Connection) -> None:
    """Answer what comes through a connection, until it is closed or nothing comes any more."""
    # RDKit's own handler would cut an embedding short, and RDKit try other coordinates.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        sys.path[:] = connection.recv()
        from rdkit import Chem, rdBase

        connection.send(None)
        with rdBase.BlockLogs():
            while connection.poll(_IDLE):
                data, *options = connection.recv()
                try:
                    answer: Answer = embed(Chem.Mol(data), *options)
                except Exception as error:
                    answer = described(error)
                connection.send(answer)
    except (EOFError, ConnectionError):
        return


def _end_with_parent(parent: int) -> None:
    """End at once with the parent, busy or not."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
