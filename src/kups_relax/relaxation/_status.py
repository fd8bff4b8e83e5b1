"""How a structure's relaxation stands, or ended."""

import enum


class Status(enum.IntEnum):
    """State of one structure. On the device an int32, for users its lower-case name."""

    EMPTY = 0  # a lane without a structure
    RUNNING = 1
    CONVERGED = 2
    MAX_STEPS = 3
    NON_FINITE = 4
    FAILED = 5
    EXPLODED = 6

    @property
    def label(self) -> str:
        """The name that results show."""
        return self.name.lower()


ADVICE = {
    Status.CONVERGED: "",
    Status.MAX_STEPS: "fmax not reached; raise max_steps, or continue from this geometry",
    Status.NON_FINITE: (
        "energy or forces became NaN or infinite; the last finite geometry is returned. "
        "Look for overlapping atoms in the start, or reduce the longest step"
    ),
    Status.EXPLODED: (
        "the next step would have changed the volume more than tenfold since the start; the last "
        "geometry before is returned. Start closer to equilibrium, look for a cell without "
        "cohesion, or keep it with cell=None"
    ),
}
