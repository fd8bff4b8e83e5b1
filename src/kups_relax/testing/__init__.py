"""Checks for those who write potentials."""

from kups_relax.testing._check import CHECKS as CHECKS
from kups_relax.testing._check import check_potential as check_potential
from kups_relax.testing._report import Check as Check
from kups_relax.testing._report import PotentialReport as PotentialReport
