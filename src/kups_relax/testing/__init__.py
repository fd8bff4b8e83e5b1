"""Checks for those who write potentials and optimizers."""

from kups_relax.testing._check import CHECKS as CHECKS
from kups_relax.testing._check import check_potential as check_potential
from kups_relax.testing._programs import Programs as Programs
from kups_relax.testing._programs import count_programs as count_programs
from kups_relax.testing._report import Check as Check
from kups_relax.testing._report import PotentialReport as PotentialReport
