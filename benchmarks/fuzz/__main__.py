"""Run one generator, or one of its cases: python -m benchmarks.fuzz GENERATOR [--only INDEX]."""

import argparse
import json
import os
import sys
import tempfile
import traceback

from benchmarks.fuzz import GENERATORS, present
from benchmarks.fuzz._pool import run
from benchmarks.report import RESULTS, save


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("generator", choices=present())
    parser.add_argument("-n", type=int, help="number of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="index of the first case")
    parser.add_argument(
        "--only", type=int, metavar="INDEX", help="repeat one case, in this process"
    )
    parser.add_argument("--save", action="store_true", help="put it among the results on record")
    given = parser.parse_args()
    if given.only is not None and os.environ.get("PYTHONHASHSEED") != "0":
        # As the workers have it: some seeds are what sets give.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.fuzz", *sys.argv[1:]])
    if given.only is not None:
        repeat(given.generator, given.seed, given.only)
        return
    n, limit = GENERATORS[given.generator]
    n = n if given.n is None else given.n
    tally = run(given.generator, n, seed=given.seed, start=given.start, limit=limit)
    print(json.dumps(tally.figures(), indent=1))
    if given.save:
        path = RESULTS / "fuzz.json"
        known = json.loads(path.read_text())["figures"] if path.exists() else {}
        save("fuzz", {**known, given.generator: {"seed": given.seed, **tally.figures()}})


def repeat(generator: str, seed: int, index: int) -> None:
    """Make one case here, where a debugger and tracebacks are at hand."""
    from benchmarks.fuzz._verdict import judge
    from benchmarks.fuzz._worker import case, module_of

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        module = module_of(generator)
        if hasattr(module, "prepare"):
            module.prepare()
        description, call = case(generator, seed, index)
        print(description)
        try:
            print("returned", call())
        except BaseException:
            traceback.print_exc()
        print(judge(call))


main()
