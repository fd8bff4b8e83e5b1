"""Run all benchmarks, or those that are named, and write results/NAME.json for each.

What follows the name `evaluations` are its sets and options: see `benchmarks.evaluations`.
"""

import importlib
import runpy
import sys

from benchmarks.report import save

NAMES = (
    "exactness",
    "optimizer_exactness",
    "preconditioned_exactness",
    "ase_parity",
    "ase_suite",
    "ase_optimize_test",
    "ase_overhead",
    "adapters",
    "mmff94_accuracy",
    "mmff94_minimiser",
    "traces",
    "first_call",
    "argon",
    "conformers",
    "clusters",
    "cells",
    "crystal_exactness",
    "crystals",
    "symmetry",
    "held",
    "noise",
    "neighbors",
    "large",
    "stores",
    "constraints",
    "potentials",
    "inputs",
    "stream",
    "orders",
    "poison",
    "odd_outputs",
    "settings",
    "kills",
    "stops",
    "xtb",
    "evaluations",
    "preconditioned_cost",
)
# Run when they are named: they need packages that are no part of a default installation, or hours.
EXTRAS = ("torch_sim", "mutations", "fuzz")

if __name__ == "__main__":
    if sys.argv[1:2] == ["evaluations"] and sys.argv[2:]:
        sys.argv = [*sys.argv[1:], "--save"]
        runpy.run_module("benchmarks.evaluations", run_name="__main__", alter_sys=True)
        sys.exit()
    chosen = [name.replace("-", "_") for name in sys.argv[1:]] or list(NAMES)
    unknown = sorted(set(chosen) - {*NAMES, *EXTRAS})
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES + EXTRAS)}")
    for name in chosen:
        print(f"== {name}", flush=True)
        save(name, importlib.import_module(f"benchmarks.{name}").main())
