"""Embed molecules in a process, which can be stopped, and which Ctrl-C does not reach.

RDKit has a handler of its own for SIGINT while it embeds or looks for substructures. It swallows
the signal, and the molecule in work gets other coordinates, or none. In another process it does
not replace Python's handler, and nothing that RDKit does can hold or end this one.
"""

from typing import TYPE_CHECKING

from kups_relax.io import _embedder
from kups_relax.io._embedder import Answer
from kups_relax.io._processes import Workers

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_workers = Workers(_embedder.__file__)


class TooSlow(Exception):
    """A molecule took longer than the time limit."""


def embed(mol: "Mol", n_wanted: int, seed: int, seconds: float) -> Answer:
    """Embed a molecule in another process. Ctrl-C ends this at once.

    Args:
        mol: With all hydrogens.
        n_wanted: Number of conformers.
        seed: RDKit's.
        seconds: Time limit.

    Returns:
        (n_made, n_atoms, 3) coordinates, Angstrom; or why there are none.

    Raises:
        TooSlow: The time limit has passed.
    """
    from rdkit import Chem

    data = mol.ToBinary(int(Chem.PropertyPickleOptions.AllProps))
    while True:
        worker, waited = _workers.take()
        try:
            worker.ask((data, n_wanted, seed))
            answer = worker.answer(seconds)
        except TimeoutError as error:
            _workers.end(worker)
            raise TooSlow from error
        except (EOFError, OSError):
            status = _workers.end(worker)
            # One that waits too long ends; it may do so in the moment in which it is taken.
            if not waited:
                return f"its process ended by itself (status {status}); expected coordinates"
        except BaseException:
            _workers.end(worker)
            raise
        else:
            _workers.give_back(worker)
            return answer
