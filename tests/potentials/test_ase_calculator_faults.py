"""Faults of ASE calculators stay alone, and processes end."""

import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase_calculator_cases import QUICK, molecules, processes, rattled, relax
from faulty_calculators import FAULT_AT, EnergyOnly, Faulty, broken_factory

import kups_relax as kr
import kups_relax.ase
from helpers import assert_same_result
from kups_relax import optimizers as ko
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import AseCalculator
from kups_relax.relaxation import (
    Job,
    Program,
    Scheduler,
    Status,
    axis_lengths,
    evaluate,
    size_class,
)
from support.crossing import first

__all__ = ["processes"]  # a fixture


def is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids, seconds=20):
    deadline = time.monotonic() + seconds
    while any(map(is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in pids if is_there(pid)]


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks into /proc")


# Faults


FAULTS = [
    ("raises", "failed", r"Faulty raised RuntimeError: no convergence after 99 cycles \(faulty_"),
    (
        "is_not_implemented",
        "failed",
        r"NotImplementedError: spin .*It gives energy, .*a setting",
    ),
    ("leaves", "failed", "raised SystemExit: out of licences"),
    ("gives_nan_energy", "non_finite", "energy or forces became NaN"),
    ("gives_infinite_force", "non_finite", "energy or forces became NaN"),
    ("gives_transposed_forces", "failed", r"forces of shape \(3, 5\), expected .* \(5, 3\)"),
    ("gives_no_numbers", "failed", "forces that is 'strong', expected real numbers"),
    ("gives_energies", "failed", r"an energy of shape \(5,\), expected real numbers of shape \(\)"),
    ("loses_forces", "failed", "gives no forces .* it gives energy,"),
]
ENDS = [
    ("hangs", "failed", r"no answer within 3 s; its process was killed\. Raise timeout"),
    ("exits", "failed", r"ended by itself \(exit code 3\)"),
    ("crashes", "failed", r"ended by itself \(signal SIGSEGV\)"),
]
CASES = [(0, *fault) for fault in FAULTS] + [
    (1, *fault) for fault in [FAULTS[0], *FAULTS[2:5], *ENDS]
]


@pytest.mark.parametrize(("workers", "fault", "status", "reason"), CASES)
def test_a_fault_ends_its_structure_alone(workers, fault, status, reason):
    bad = rattled("CH4", 7, fault=fault)
    structures = [*molecules()[:2], bad, *molecules()[2:]]
    timeout = 3.0 if fault == "hangs" else None
    result = relax(structures, Faulty, workers=workers, timeout=timeout)
    assert result.status[2] == status
    assert "CH4-7" not in result.reason[2]
    assert "Faulty" in result.reason[2]
    assert re.search(reason, result.reason[2]), result.reason[2]
    # The last geometry that had numbers, with these numbers.
    assert result.n_steps[2] == FAULT_AT - 1
    before = relax([rattled("CH4", 7)], options={**QUICK, "max_steps": FAULT_AT - 2})
    assert np.array_equal(result.atoms[2].positions, before.atoms[0].positions)
    assert result.energy[2] == before.energy[0]
    # The others are as they are without it.
    others = relax(molecules())
    for i, j in enumerate([0, 1, 3, 4, 5]):
        assert_same_result(result, j, others, i)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        (broken_factory, r"the factory raised FileNotFoundError: parameters.toml \(faulty_calc"),
        (lambda: EMT, r"the factory returned <class .* no ASE calculator; expected an object"),
        (lambda: None, "the factory returned None, which is no ASE calculator"),
        (EnergyOnly, r"EnergyOnly gives no forces .*it gives energy\. Choose a calculator"),
    ],
)
def test_a_factory_that_gives_no_calculator_fails_structures(workers, factory, reason):
    result = relax(molecules()[:2], factory, workers=workers)
    assert result.status.tolist() == ["failed", "failed"]
    for atoms, start, said in zip(result.atoms, molecules(), result.reason, strict=False):
        assert np.array_equal(atoms.positions, start.positions)
        assert atoms.calc is None
        assert re.match(f".*{reason}", said), said


def test_a_stress_of_a_wrong_shape_is_told():
    [reason] = relax([rattled("Cu4", fault="gives_long_stress")], Faulty).reason
    assert "Faulty gave a stress of shape (9,), expected real numbers of shape (6,) or (3, 3)" in (
        reason
    )


def test_a_single_point_that_fails_says_so():
    class Refusing(EMT):
        def calculate(self, *args):
            raise RuntimeError("no basis set")

    entries = kr.io.structures_from(molecules())
    with pytest.raises(PotentialError, match=r"'H2O-0' with calculator Refusing: .* no basis set"):
        evaluate(AseCalculator(Refusing), entries)


# Worker processes


def test_a_worker_imports_neither_jax_nor_this_package():
    [reason] = relax([rattled("CH4", fault="tells")], Faulty, workers=1).reason
    assert "jax: False, kups_relax: False" in reason


def test_each_worker_is_one_process_that_is_gone_afterwards(processes):
    relax([rattled("CH4", seed) for seed in range(6)], workers=2)
    assert len(processes) == 2
    assert [p.returncode for p in processes] == [0, 0]


def test_single_points_share_a_process(processes):
    entries = kr.io.structures_from(molecules())
    got = evaluate(AseCalculator(EMT, workers=1), entries)
    here = evaluate(AseCalculator(EMT), entries)
    assert [one.energy for one in got] == [one.energy for one in here]
    assert [p.returncode for p in processes] == [0]


@needs_proc
def test_a_program_that_a_calculator_waits_for_is_killed_with_it(tmp_path):
    pid = tmp_path / "pid"
    atoms = rattled("CH4", fault="waits_for_a_program", pid=str(pid))
    result = relax([atoms], Faulty, workers=1, timeout=3.0)
    assert "no answer within 3 s" in result.reason[0]
    wait_until_gone([int(pid.read_text())])


def test_a_consumer_that_stops_kills_what_hangs(processes):
    potential = AseCalculator(Faulty, workers=2)
    program = Program(potential, ko.get("lbfgs"))
    entries = kr.io.structures_from(
        [rattled("CH4"), *[rattled("CH4", seed, fault="hangs") for seed in range(1, 6)]]
    )
    jobs = [
        Job(i, e, program, {}, {}, size_class(potential, e.n_atoms, axis_lengths(potential, {})))
        for i, e in enumerate(entries)
    ]
    before = threading.active_count()
    start = 0.0

    def sink(item):
        nonlocal start
        if item is not None:
            assert item.status is Status.CONVERGED
            start = time.monotonic()
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        Scheduler(dtype="float64", fmax=0.05, max_steps=40).run(jobs, sink)
    assert time.monotonic() - start < 30
    assert threading.active_count() <= before
    assert processes
    assert all(p.returncode is not None for p in processes)


# No `if __name__ == "__main__"`: workers do not run the script.
SCRIPT = """
    import os, pathlib, signal, sys, time
    import numpy as np
    from ase.build import molecule
    from ase.calculators.emt import EMT
    import kups_relax as kr

    # Shells have what they start in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = pathlib.Path(sys.argv[1])

    class Waiting(EMT):
        def calculate(self, *args):
            super().calculate(*args)
            (folder / str(os.getpid())).touch()
            time.sleep(600)

    potential = kr.potentials.AseCalculator(lambda: Waiting(), workers=2)
    kr.relax([molecule("CH4"), molecule("NH3")], potential, progress=False)
"""


@needs_proc
@pytest.mark.parametrize("how", first([signal.SIGINT, signal.SIGKILL, signal.SIGTERM], 2))
def test_no_process_outlives_the_run(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    pids = tmp_path / "pids"
    pids.mkdir()
    run = subprocess.Popen(
        [sys.executable, script, pids], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while len(list(pids.iterdir())) < 2 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(path.name) for path in pids.iterdir()]
    run.send_signal(how)
    try:
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert len(workers) == 2, err
    assert ("KeyboardInterrupt" in err) == (how == signal.SIGINT)
    wait_until_gone(workers)


def test_a_factory_of_a_file_reaches_the_workers(tmp_path):
    model = tmp_path / "my_calculators.py"
    model.write_text(
        "from ase.calculators.emt import EMT\n"
        "from kups_relax.potentials import AseCalculator\n"
        "class Own(EMT):\n"
        "    pass\n"
        "def make():\n"
        "    return AseCalculator(lambda: Own(), workers=1)\n"
    )
    result = kr.relax(molecules()[:2], f"{model}:make", **QUICK)
    assert result.converged.all()
    assert np.array_equal(result.energy, relax(molecules()[:2]).energy)


def test_a_factory_that_cannot_be_sent_is_refused():
    lock = threading.Lock()

    def factory():
        return EMT() if lock else None

    with pytest.raises(OptionError, match=r"factory.* cannot be sent to worker processes: .*lock"):
        relax(molecules()[:2], factory, workers=1)


def test_atoms_that_cannot_be_sent_fail_alone():
    atoms = rattled("CH4")
    # Info is copied by value, and what counts here is that it is no plain data.
    atoms.info["open"] = Unsendable()
    result = relax([rattled("NH3"), atoms], workers=1)
    assert result.status.tolist() == ["converged", "failed"]
    assert "the atoms cannot be sent to a worker process" in result.reason[1]


class Unsendable:
    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        raise TypeError("cannot pickle this")


def test_more_threads_than_workers_are_not_used(processes):
    kr.relax(molecules(), AseCalculator(EMT, workers=1), n_workers=4, **QUICK)
    assert len(processes) == 1


def test_it_can_be_turned_into_an_ase_calculator_again(processes):
    atoms = rattled("CH4", fault="exits")
    atoms.calc = kr.ase.JaxCalculator(AseCalculator(Faulty, workers=1))
    again = rattled("CH4")
    again.calc = EMT()
    for _ in range(FAULT_AT - 1):
        assert np.array_equal(atoms.get_forces(), again.get_forces())
        for one in (atoms, again):
            one.positions[0, 0] += 0.01
    with pytest.raises(PotentialError, match=r"'CH4-0' with calculator Faulty: .*\(exit code 3"):
        atoms.get_forces()
    # By a new process, which is gone with the calculator.
    assert np.array_equal(atoms.get_forces(), again.get_forces())
    atoms.calc = None
    gc.collect()
    assert [p.returncode for p in processes] == [3, -signal.SIGKILL]
