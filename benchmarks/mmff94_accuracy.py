"""MMFF94 and MMFF94s against RDKit, per term and for forces, on the molecules of the tests."""

import pathlib
import sys
from typing import Any

import jax
from rdkit import rdBase

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "potentials"))


def main() -> dict[str, Any]:
    """Report the largest deviation of each term (kcal/mol) and of the forces (relative)."""
    import test_mmff94 as tests

    figures: dict[str, Any] = {}
    with jax.enable_x64(True), rdBase.BlockLogs():
        for variant in tests.VARIANTS:
            compared = tests.comparison(variant)
            figures[f"{variant}: molecules"] = len(compared)
            for term in tests.TERMS:
                worst = max(terms[term] for _, terms, _ in compared)
                figures[f"{variant}: {term}, kcal/mol"] = worst
            worst = max(force for _, _, force in compared)
            figures[f"{variant}: forces against CalcGrad, relative"] = worst
    return figures
