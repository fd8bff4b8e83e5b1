"""Noise in forces, as of models in float32, stays noise: it is not amplified step by step.

Where symmetry holds forces on atoms at zero, what is left of them is noise. The softness of a cell,
taken for that of all coordinates, would send it along the stiffest directions there are.
"""

import pytest
from benchmarks.noise import STABLE, amplified


@pytest.mark.parametrize(
    ("potential", "name"),
    [
        pytest.param(
            potential, name, marks=[] if name.startswith("hcp Ag") else pytest.mark.extended
        )
        for potential, names in STABLE.items()
        for name in names
    ],
)
def test_case_13_noise_stays_below_ten_times_itself(potential: str, name: str) -> None:
    times, n_evaluations = amplified(potential, name, "lbfgs")
    assert times < 10
    assert n_evaluations < 40
