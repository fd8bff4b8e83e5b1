"""Results of the structures in a tile, copied from the device to the host."""

import numpy as np

from kups_relax.relaxation._step import TileState


class TileResults:
    """Results of all lanes of a tile, on the host; see `TileState`."""

    def __init__(self, state: TileState) -> None:
        self.positions, self.forces = np.asarray(state.seen.positions), np.asarray(state.forces)
        self.cell = np.asarray(state.seen.cell)
        self.energy, self.fmax = np.asarray(state.energy), np.asarray(state.fmax)
        self._free = None if state.free_energy is None else np.asarray(state.free_energy)
        self.stress = None if state.stress is None else np.asarray(state.stress)
        self.n_steps = np.asarray(state.n_steps)
        self.n_evaluations = np.asarray(state.n_evaluations)

    def other_energy(self, lane: int) -> float | None:
        """Return the free energy of a lane, where it is not the energy."""
        if self._free is None or np.array_equal(self._free[lane], self.energy[lane], True):
            return None
        return float(self._free[lane])


def rows(x: np.ndarray) -> np.ndarray:
    """Copy rows of a lane, in float64."""
    return np.array(x, np.float64, order="C")
