"""Measure chosen sets with chosen optimizers."""

import argparse
import pathlib

from benchmarks import evaluations
from benchmarks.evaluations import ours, robustness, sets

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", help=f"of {', '.join([*sets.SETS, 'robustness'])}; all")
    parser.add_argument("--ours", nargs="*", default=list(ours.NAMES), help="names of optimizers")
    parser.add_argument("--peers", nargs="*", help="names of peers; all that a set has")
    parser.add_argument("--records", type=pathlib.Path, help="a file that keeps rows of structures")
    parser.add_argument("--save", action="store_true", help="write into the recorded results")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.sets) - {*sets.SETS, "robustness"}):
        parser.error(f"there is no set {', '.join(unknown)}")
    for name in asked.sets or [*sets.SETS, "robustness"]:
        if name == "robustness":
            figures = robustness.main(tuple(asked.ours))
        else:
            others = None if asked.peers is None else tuple(asked.peers)
            figures = evaluations.measure(name, tuple(asked.ours), others, asked.records)
        if asked.save:
            evaluations.record(name, figures)
