"""Force evaluations that optimizers need: same start, same threshold, counted in the calculator.

`python -m benchmarks evaluations` measures every set with every optimizer and records it;
`python -m benchmarks.evaluations g2 --ours lbfgs` a set with one of ours.

Sella and geomeTRIC are installed elsewhere: PEERS=/path/python names the interpreter that has them,
with ASE and tblite; without it they are reported as not measured.
"""

import json
import pathlib
from typing import Any

import kups_relax as kr
from benchmarks import report
from benchmarks.evaluations import ours, peers, robustness, sets, tables
from kups_relax.errors import OptionError

NOT_MEASURED = "not measured: set PEERS to an interpreter that has it"


def main() -> dict[str, Any]:
    """Measure everything."""
    figures: dict[str, Any] = {name: measure(name) for name in sets.SETS}
    return figures | {"robustness": robustness.main(ours.NAMES)}


def measure(
    name: str,
    optimizers: tuple[Any, ...] = ours.NAMES,
    others: tuple[str, ...] | None = None,
    records: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Measure one set and print its table.

    Args:
        name: Of the set.
        optimizers: Ours: names, or optimizers, which are called what they look like.
        others: Peers; None: all that the set has.
        records: A file that keeps every structure's row. A peer that is in it is not run again,
            and is in the table: for tuning against it.
    """
    of = sets.SETS[name]()
    kept: dict[str, Any] = {}
    if records is not None and records.exists():
        kept = json.loads(records.read_text())
    rows: dict[str, list[dict[str, Any]]] = kept.setdefault(name, {})
    wanted = of.peers if others is None else others
    measured, versions = peers.measure(of, [peer for peer in wanted if peer not in rows])
    rows |= measured
    versions = kept["versions"] = kept.get("versions", {}) | versions
    _write(records, kept)
    for optimizer in optimizers:
        if isinstance(optimizer, str):
            try:
                kr.optimizers.get(optimizer)
            except OptionError as error:
                print(f"   passed by: {error}", flush=True)
                continue
        rows[str(optimizer)] = ours.measure(of, optimizer)
        _write(records, kept)
    reference = rows.get(peers.REFERENCE)
    added = {key: tables.summary(value, reference) for key, value in rows.items()}
    print(f"\n{name}: {len(of.structures)} structures, fmax {of.fmax} eV/A\n")
    print(tables.markdown(added), flush=True)
    labels = [atoms.info.get("id", str(k)) for k, atoms in enumerate(of.structures)]
    failed = {key: tables.failures(value, labels) for key, value in rows.items()}
    return {
        "fmax, eV/A": of.fmax,
        "most evaluations": of.limit,
        "lower and higher than": peers.REFERENCE,
        **added,
        **{peer: NOT_MEASURED for peer in wanted if peer not in rows},
        "failures": {key: value for key, value in failed.items() if value},
        "versions": versions,
    }


def record(name: str, figures: dict[str, Any]) -> None:
    """Write the figures of one set into the results, beside what is there of others."""
    path = report.RESULTS / "evaluations.json"
    known = json.loads(path.read_text())["figures"] if path.exists() else {}
    report.save("evaluations", known | {name: figures})


def _write(records: pathlib.Path | None, kept: dict[str, Any]) -> None:
    if records is not None:
        records.write_text(json.dumps(kept))
