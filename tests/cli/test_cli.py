"""The command: what it prints, what it writes, and how it exits."""

import re
import subprocess
import sys

import ase.io
import ase.units
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from command_cases import clusters, command, mixed

__all__ = ["clusters", "command", "mixed"]  # fixtures

ARGON = ["--potential", "lennard-jones:epsilon=0.0104,sigma=3.4"]


def test_all_converged_is_0_and_a_line_for_each(command, clusters):
    status, out, err = command("relax", clusters, *ARGON)
    assert status == 0
    head, *rows, last = out.splitlines()
    assert head.split() == ["structure", "atoms", "steps", "energy/eV", "fmax", "status"]
    assert [row.split()[:2] for row in rows] == [["Ar3-0", "3"], ["Ar8-1", "8"], ["Ar5-2", "5"]]
    assert all(row.endswith("converged") for row in rows)
    assert last.startswith("3 of 3 structures converged in ")
    assert re.fullmatch(r"relax \d+:\d\d: 3( of 3)? done(, .*)?\n", err)


def test_not_all_converged_is_1_and_each_reason(command, mixed):
    status, out, err = command("relax", mixed, *ARGON, "--max-steps", 2, "--fmax", "0.01")
    assert status == 1
    assert re.fullmatch(r"1 of 3 .* converged in .* s; 1 failed, 1 max_steps", out.splitlines()[-1])
    progress, *reasons, hint = err.splitlines()
    assert "3 of 3 done, 2 not converged" in progress
    assert hint == "to relax only these again, write to a store: -o OUT.h5"
    assert len(reasons) == 2
    assert reasons[0].startswith("Ar8-0: max_steps: ")
    assert "raise --max-steps" in reasons[0]
    assert reasons[1].startswith("broken: failed: ")
    assert "0 Angstrom apart" in reasons[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["relax", "missing.xyz", *ARGON], "there is no such file"),
        (["relax", "CLUSTERS", "-p", "eam"], "no potential 'eam'; expected one of"),
        (["relax", "CLUSTERS", "-p", "lennard-jones:depth=1"], "no option 'depth=1'"),
        (["relax", "CLUSTERS", *ARGON, "--optimizer", "bfgs"], "no optimizer 'bfgs'"),
        (["relax", "CLUSTERS", *ARGON, "--fmax", "0"], "--fmax is 0"),
        (["relax", "CLUSTERS", *ARGON, "--fmax", "-1"], "--fmax is -1"),
        (["relax", "CLUSTERS", *ARGON, "--max-steps", "-1"], "--max-steps is -1"),
        (["relax", "CLUSTERS", *ARGON, "--dtype", "half"], "--dtype is 'half'"),
        (["relax", "CLUSTERS", *ARGON, "-o", "out.pdb"], "'.pdb'; expected one of"),
        (["relax", "CLUSTERS", *ARGON, "-o", "CLUSTERS"], "allow it with --overwrite."),
        (["relax", "CLUSTERS", *ARGON, "--workers", "0"], "--workers is 0"),
        (["relax", "CLUSTERS", *ARGON, "--seed", "-1"], "--seed is -1"),
        (["relax", "CLUSTERS", *ARGON, "--n-conformers", "0"], "--n-conformers is 0"),
        (["relax", "CLUSTERS", *ARGON, "--checkpoint", "0"], "--checkpoint is 0"),
        (["relax", "CLUSTERS", *ARGON, "--resume"], "--resume needs an output"),
        (["relax", "CLUSTERS", "-p", "lenard-jones"], "Did you mean 'lennard-jones'?"),
        (["relax", "CLUSTERS", *ARGON, "--optimizer", "fyre"], "Did you mean 'fire'?"),
        (["relax", "CLUSTERS", *ARGON, "--cell", "frechet:mask=001000"], "mask is '001000'"),
        (["relax", "LETTER", *ARGON], "cannot read it as a structure file"),
        (["verify", "CLUSTERS", *ARGON, "--draws", "0"], "--draws is 0"),
        (["verify", "missing.xyz", *ARGON], "there is no such file"),
        (["verify", "CLUSTERS", "-p", "no_module:make"], "no module 'no_module'"),
        (["audit-model", "CLUSTERS", *ARGON, "--checks", "force"], "no check 'force'"),
        (["audit-model", "CLUSTERS", *ARGON, "--precision", "2"], "--precision is 2.0"),
    ],
)
def test_input_that_cannot_be_used_is_2_and_one_line(args, message, command, clusters, tmp_path):
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Sir or Madam,\n")
    status, out, err = command(
        *({"CLUSTERS": clusters, "LETTER": letter}.get(arg, arg) for arg in args)
    )
    assert status == 2
    assert out == ""
    assert err.startswith("kups-relax: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize(
    "args", [["relax", "CLUSTERS", "--fmx", "0.1"], ["relax"], ["unwind"], ["relax", "--fmax", "x"]]
)
def test_misuse_of_the_command_is_2(args, command, clusters):
    status, _, err = command(*(clusters if arg == "CLUSTERS" else arg for arg in args))
    assert status == 2
    assert "Usage" in err


SUITED = {
    "ethanol.xyz": (molecule("CH3CH2OH"), ["mmff94", "FILE.py:FUNCTION"]),
    "copper.xyz": (bulk("Cu", cubic=True), ["emt", "FILE.py:FUNCTION"]),
    "silicon.xyz": (bulk("Si", cubic=True), ["stillinger-weber", "tersoff", "FILE.py:FUNCTION"]),
    "argon.xyz": (
        Atoms("Ar2", [[0, 0, 0], [0, 0, 4]]),
        ["lennard-jones:epsilon=...,sigma=...", "FILE.py:FUNCTION"],
    ),
    "oxide.xyz": (bulk("MgO", "rocksalt", a=4.2), ["FILE.py:FUNCTION"]),
}


@pytest.mark.parametrize("name", SUITED)
def test_without_a_potential_it_says_which_suit_the_input_and_no_toys(name, command, tmp_path):
    atoms, expected = SUITED[name]
    if "mmff94" in expected:
        pytest.importorskip("rdkit", reason="MMFF94 needs it")
    ase.io.write(tmp_path / name, atoms)
    status, out, err = command("relax", tmp_path / name)
    assert (status, out) == (2, "")
    assert re.findall(r"^  --potential (\S+)$", err, re.MULTILINE) == expected
    assert max(map(len, err.splitlines())) <= 80


def test_without_a_potential_and_anything_to_read_it_says_why(command, tmp_path):
    pytest.importorskip("rdkit", reason="reads SMILES")
    (tmp_path / "bad.smi").write_text("C1CC broken\n")
    status, _, err = command("relax", tmp_path / "bad.smi")
    assert status == 2
    assert "C1CC" in err


def test_output_is_written_and_kept(command, clusters, tmp_path):
    output = tmp_path / "out.extxyz"
    status, out, _ = command("relax", clusters, *ARGON, "-o", output)
    assert status == 0
    assert f"written to {output}" in out
    assert [len(atoms) for atoms in ase.io.read(output, ":")] == [3, 8, 5]
    assert command("relax", clusters, *ARGON, "-o", output)[0] == 2
    assert command("relax", clusters, *ARGON, "-o", output, "--overwrite")[0] == 0


def test_several_files_are_one_batch(command, clusters, mixed):
    status, out, _ = command("relax", clusters, mixed, *ARGON, "--max-steps", 2)
    assert status == 1
    assert "of 6 structures converged" in out


def test_quiet_prints_no_table(command, clusters):
    status, out, err = command("relax", clusters, *ARGON, "--quiet")
    assert status == 0
    assert len(out.splitlines()) == 1
    assert err == ""


def test_verify_prints_its_counts(command, clusters):
    status, out, err = command("verify", clusters, *ARGON, "--draws", 3, "--max-steps", 20)
    assert status == 0
    assert out.startswith("3 structures alone and in 3 random batches: ")
    assert out.rstrip().endswith(" comparisons, 0 mismatches")
    assert err == ""


def test_verify_names_mismatches_and_is_1(command, clusters, monkeypatch):
    from kups_relax import _verify

    report = _verify.Report(n_structures=3, n_draws=3, n_comparisons=9, mismatches=((2, "Ar8-1"),))
    monkeypatch.setattr(_verify, "verify", lambda *args, **options: report)
    status, out, err = command("verify", clusters, *ARGON)
    assert status == 1
    assert "9 comparisons, 1 mismatches" in out
    assert err == "draw 2: Ar8-1 differs from itself alone\n"


def test_check_prints_a_report_and_is_0_or_1(command, clusters):
    status, out, err = command("audit-model", clusters, *ARGON, "--draws", 2)
    assert status == 0
    assert out.startswith("lennard-jones, float64, 3 structures\n")
    assert "batch invariance  passed" in out
    assert err == ""
    status, out, _ = command(
        "audit-model", clusters, "-p", "harmonic:bond=1", "--checks", "permutation, forces"
    )
    assert status == 1
    assert "permutation failed: the order of the atoms matters" in out


def test_a_model_of_ones_own_is_relaxed_verified_and_checked(command, clusters, tmp_path):
    model = tmp_path / "model.py"
    model.write_text(
        "from kups_relax.potentials import LennardJones\n"
        "def make(): return LennardJones(0.0104, 3.4)\n"
    )
    own = ["--potential", f"{model}:make"]
    assert (
        command("relax", clusters, *own)[1].splitlines()[:-1]
        == (command("relax", clusters, *ARGON)[1].splitlines()[:-1])
    )
    assert command("verify", clusters, *own, "--draws", 1, "--max-steps", 20)[0] == 0
    assert command("audit-model", clusters, *own, "--checks", "forces,batch invariance")[0] == 0


def test_potentials_lists_names_and_options_that_work(command):
    from kups_relax import potentials

    status, out, _ = command("potentials")
    assert status == 0
    for name in potentials.NAMED:
        assert name in out
    assert "epsilon=1.0, sigma=1.0, cutoff=none" in out
    for model in ("AseCalculator", "GraphModel", "Mlip", "Nequix", "Sum", "TorchSim"):
        assert f"\n{model}: " in out
    assert "FILE.py:FUNCTION" in out
    assert max(map(len, out.splitlines())) <= 80


def test_optimizers_lists_names_and_options_that_work(command, clusters):
    from kups_relax import optimizers

    status, out, _ = command("optimizers")
    assert status == 0
    for name in optimizers.NAMED:
        assert name in out
    assert "maxstep=0.2" in out
    assert "learning-rate=0.02" in out
    assert "FILE.py:FUNCTION" in out
    assert max(map(len, out.splitlines())) <= 80
    summaries = re.findall(r"^[a-z0-9-]+: (.*)$", out, re.MULTILINE)
    assert len(set(summaries)) == len(optimizers.NAMED)
    named = ("--optimizer", "fire:dt=0.2,maxstep=0.3", "--max-steps", 3)
    assert command("relax", clusters, *ARGON, *named)[0] == 1


@pytest.mark.parametrize(
    "name",
    [
        None,
        *[
            "relax",
            "verify",
            "audit-model",
            "potentials",
            "optimizers",
            "info",
            "export",
            "report",
            "check",
        ],
    ],
)
def test_help_is_0(name, command):
    status, out, _ = command(*([name] if name else []), "--help")
    assert status == 0
    assert out.startswith("Usage: kups-relax")
    assert "kups-relax" in out.split("Example")[-1] or name in ("potentials", "optimizers")
    assert max(map(len, out.splitlines())) <= 80
    if name in (None, "relax", "verify", "audit-model"):
        assert re.search(r"Exit status:\n +0 .*\n +1 .*\n +2 ", out)


def test_the_version_says_those_of_jax_too(command):
    from importlib.metadata import version

    for option in ("--version", "-V"):
        status, out, _ = command(option)
        assert status == 0
        assert out.splitlines()[0] == f"kups-relax {version('kups-relax')}"
        assert re.search(rf"^jax +{re.escape(version('jax'))}$", out, re.MULTILINE)


def test_the_shell_can_complete_options(command, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/bash")
    _, out, _ = command("--help")
    assert "--install-completion" in out
    monkeypatch.setenv("_KUPS_RELAX_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "kups-relax relax --pot")
    monkeypatch.setenv("COMP_CWORD", "2")
    out = command()[1]
    assert "--potential" in out


def test_an_optimizer_of_ones_own_is_used_and_shown(command, clusters, tmp_path):
    own = tmp_path / "own.py"
    own.write_text("import kups_relax as kr\ndef make(): return kr.optimizers.lbfgs(alpha=60.0)\n")
    path = tmp_path / "out.h5"
    assert command("relax", clusters, *ARGON, "--optimizer", f"{own}:make", "-o", path)[0] == 0
    out = command("info", path)[1]
    assert "optimizer    lbfgs: memory_size 16, " in out
    assert "alpha 60.0" in out
    assert max(len(line) for line in out.splitlines() if "store" not in line) <= 80


def test_what_is_wrong_with_all_is_said_once_and_first(command, tmp_path):
    path = tmp_path / "crystals.xyz"
    ase.io.write(path, [bulk("Ar", a=5.3 + 0.1 * i) for i in range(4)])
    status, _, err = command("relax", path, *ARGON)
    assert status == 1
    _, first, hint = err.splitlines()
    assert first.startswith("all 4 structures: failed: pbc is [True, True, True], and LennardJones")
    assert "lennard-jones:cutoff=..." in first
    assert first.endswith(" and 1 more)")
    assert hint.startswith("to relax only these again")


def test_a_reason_does_not_repeat_the_id_and_is_one_line(command, tmp_path):
    path = tmp_path / "odd.xyz"
    odd = Atoms("Ar2", [[0, 0, 0], [0, 0, 0]], info={"id": "b\x1b]52;c;x\x07"})
    ase.io.write(path, [Atoms("Ar2", [[0, 0, 0], [0, 0, 4]], info={"id": "a"}), odd])
    status, out, err = command("relax", path, *ARGON, "--max-steps", 0)
    assert status == 1
    assert "\x1b" not in out + err
    [said] = [line for line in err.splitlines() if ": failed: " in line]
    assert said.count("52;c;x") == 1


def test_the_command_runs_in_a_process_of_its_own(clusters):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from kups_relax.cli import main; main()",
            "relax",
            clusters,
            *ARGON,
            "--quiet",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "3 of 3 structures converged" in done.stdout
    assert done.stderr == ""


def test_cells_relax_under_a_pressure_in_gpa(command, tmp_path):
    path, output = tmp_path / "argon.cif", tmp_path / "out.extxyz"
    bulk("Ar", "fcc", a=5.3, cubic=True).write(path)
    argon = ["-p", "lennard-jones:epsilon=0.0104,sigma=3.4,cutoff=8.5"]
    options = ["--cell", "frechet:pressure=0.5GPa,mask=xx+yy+zz", "--fmax", "1e-4"]
    status, out, _ = command("relax", path, *argon, *options, "-o", output)
    assert status == 0, out
    relaxed = ase.io.read(output)
    pressure = 0.5 * ase.units.GPa
    assert relaxed.get_stress()[:3] == pytest.approx([-pressure] * 3, abs=1e-5)
    status, _, err = command("relax", path, *argon, "--cell", "cubic")
    assert status == 2
    assert "'frechet', 'unit'" in err
    status, _, err = command("relax", path, *argon, "--cell", "frechet:presure=1")
    assert status == 2
    assert "presure" in err
