"""Command lines of `kups-relax` with odd values: status 0, 1 or 2, and never a traceback."""

import contextlib
import io
import os
import random
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import ase.io
from ase import Atoms

import kups_relax as kr
from benchmarks.fuzz._verdict import WrongError

# One command of so many is a process of its own.
_PROCESSES = 200
_VALUES = (
    "0", "-1", "1", "2", "3", "1e-3", "1e308", "1e999", "nan", "inf", "-inf", "", " ", "x", "None",
    "none", "true", "99999999999999999999", "2147483648", "0x10", "1_0", "1e", "0.5", "1,5", "٣",
    "--", "-", "\udce9", "a b", "{", "9" * 5000, "1j", "5GPa", "a=b", ":", "=", ",", "*", "../x",
)  # fmt: skip
_POTENTIALS = (
    "lennard-jones:epsilon=0.0104,sigma=3.4", "lennard-jones:epsilon=0.0104,sigma=3.4,cutoff=8",
    "lennard-jones", "harmonic", "emt", "mmff94", "morse", "LJ", "mmff", "tersoff", "emt:skin=1",
    "nothing", "model.py:make", "missing.py:make", "model.py:nothing", "model.py:", "model.py",
    "model.py:number", "broken.py:make", ":", "", "lennard-jones:", "lennard-jones:epsilon",
    "stillinger-weber", "AseCalculator", "model.py:raising",
)  # fmt: skip
_OPTIONS_OF_POTENTIALS = ("epsilon", "sigma", "cutoff", "onset", "skin", "well", "bond", "variant",
                          "asap-cutoff", "triplets", "rho0", "nothing", "e psilon")  # fmt: skip
_OPTIMIZERS = (
    "lbfgs", "fire", "lbfgs", "fire", "ase-lbfgs", "gradient-descent", "adam", "LBFGS", "bfgs",
    "model.py:make", "lbfgs-zoom:", "",
)  # fmt: skip
_OPTIONS_OF_OPTIMIZERS = ("memory-size", "learning-rate", "dt", "maxstep", "nmin", "b1", "alpha",
                          "max-step-size", "linesearch", "nothing", "clip-norm")  # fmt: skip
_CELLS = ("frechet", "unit", "frechet:pressure=5GPa", "frechet:mask=xx+yy", "unit:mask=", "cubic",
          "frechet:pressure=1e999GPa", "frechet:mask=ab", "frechet:pressure=-1kbar", "unit:x=1", "",
          "frechet:hydrostatic-strain=true", "frechet:cell-factor=0",
          "unit:constant-volume=maybe")  # fmt: skip
_INPUTS = (
    "two.xyz", "two.xyz", "two.xyz", "crystal.cif", "in.smi", "empty.xyz", "missing.xyz", "bad.xyz",
    "store.h5", "folder", "*.xyz", ".", "/dev/null", "", "-", "two.xyz:0", "bad.sdf", "model.py",
    "\udce9.xyz", "x" * 300, "[", "truncated.h5", "pipe.xyz", "pipe.h5",
)  # fmt: skip
_OUTPUTS = (
    "out.h5", "out.extxyz", "out.xyz", "out.sdf", "out.csv", "out.db", "out.cif", "POSCAR", "out.x",
    "out", "", ".", "/", "missing/out.h5", "pipe.h5", "pipe.xyz", "two.xyz", "store.h5", "-",
    "out.h5/x.h5", "x" * 300 + ".h5", "out.traj", "folder", "/proc/out.h5", "\udce9.h5", "out.html",
    "folder/../out.extxyz", "out\n.csv",
)  # fmt: skip
_MODEL = """
import kups_relax as kr
number = 3
def make():
    return kr.potentials.Harmonic()
def raising():
    raise KeyError("user")
"""


def prepare() -> None:
    """Make the files that commands are about."""
    folder = Path("inputs")
    folder.mkdir()
    two = [Atoms("Ar2", [[0, 0, 0], [0, 0, z]], info={"id": f"ar{z}"}) for z in (3.8, 4.1)]
    ase.io.write(folder / "two.xyz", two)
    crystal = Atoms("Cu", cell=[[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], pbc=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ase.io.write(folder / "crystal.cif", crystal)
    texts = {"in.smi": "C m\nCO x\n", "empty.xyz": "", "bad.xyz": "3\n\nAr 0 0 0\n", "bad.sdf": "x"}
    texts |= {"model.py": _MODEL, "broken.py": "def make(:\n"}
    for name, text in texts.items():
        (folder / name).write_text(text)
    argon = kr.potentials.LennardJones(0.0104, 3.4)
    kr.relax(two, argon, output=folder / "store.h5", trajectory=1, progress=False)
    content = (folder / "store.h5").read_bytes()
    (folder / "truncated.h5").write_bytes(content[: len(content) // 2])
    (folder / "folder").mkdir()


def case(seed: int, index: int) -> tuple[str, Callable[[], Any]]:
    """Make one case: a command line, and a call that runs it in a folder of its own."""
    draw = random.Random(f"commands {seed} {index}")
    words = _command(draw)
    apart = index % _PROCESSES == _PROCESSES - 1

    def call() -> list[str]:
        folder = Path("run").absolute()
        shutil.copytree("inputs", folder)
        for name in ("pipe.xyz", "pipe.h5"):
            os.mkfifo(folder / name)
        try:
            with contextlib.chdir(folder):
                status, out, err = (_in_process if apart else _in_here)(words)
        finally:
            shutil.rmtree(folder)
        return _checked(status, out, err)

    return shlex.join(words).encode("utf-8", "backslashreplace").decode(), call


def _checked(status: Any, out: str, err: str) -> list[str]:
    if status not in (0, 1, 2):
        raise WrongError(f"exit status {status!r}: {err[-400:]}")
    if "Traceback (most recent call last)" in out + err:
        raise WrongError(f"a traceback: {err[-600:]}")
    if status == 2 and not err.strip():
        raise WrongError("status 2, and nothing on stderr")
    if status == 0 and not out.strip():
        raise WrongError("status 0, and nothing on stdout")
    return [line for line in (err + "\n" + out).splitlines() if line.strip()] if status else []


def _in_here(words: list[str]) -> tuple[Any, str, str]:
    from kups_relax.cli._app import run

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2))
    status: Any = None
    with (
        mock.patch.object(sys, "argv", ["kups-relax", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            raise SystemExit(run())
        except SystemExit as end:
            status = end.code
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # pyright: ignore
    return status, texts[0], texts[1]


def _in_process(words: list[str]) -> tuple[Any, str, str]:
    code = "from kups_relax.cli import main; main()"
    words = [w for w in words if "\0" not in w]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, stdin=subprocess.DEVNULL
    )
    return (
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )


def _command(draw: random.Random) -> list[str]:
    name = draw.choices(tuple(_COMMANDS), (12, 1, 1, 3, 4, 3, 1, 1, 1))[0]
    words = [name, *_COMMANDS[name](draw)]
    if draw.random() < 0.1:
        words.insert(draw.randint(0, len(words)), draw.choice((*_VALUES, "--nothing", "-h", "-V")))
    if draw.random() < 0.05:
        del words[draw.randrange(len(words))]
    return words


def _value(draw: random.Random, *usual: str) -> str:
    return draw.choice(usual) if draw.random() < 0.5 else draw.choice(_VALUES)


def _with_options(draw: random.Random, name: str, keys: tuple[str, ...]) -> str:
    for i in range(draw.choice((0, 0, 0, 1, 1, 2))):
        sign = ":" if i == 0 and ":" not in name else ","
        name += f"{sign}{draw.choice(keys)}={draw.choice(_VALUES)}"
    return name


def _inputs(draw: random.Random) -> list[str]:
    return [draw.choice(_INPUTS) for _ in range(draw.choice((1, 1, 1, 2, 0)))]


def _model(draw: random.Random) -> list[str]:
    if draw.random() < 0.05:
        return []
    name = _POTENTIALS[0] if draw.random() < 0.5 else draw.choice(_POTENTIALS)
    return ["--potential", _with_options(draw, name, _OPTIONS_OF_POTENTIALS)]


def _some(draw: random.Random, options: dict[str, Callable[[], list[str]]], most: int) -> list[str]:
    chosen = draw.sample(list(options), draw.randint(0, min(most, len(options))))
    return [word for name in chosen for word in (name, *options[name]())]


def _shared(draw: random.Random) -> dict[str, Callable[[], list[str]]]:
    def optimizer() -> list[str]:
        return [_with_options(draw, draw.choice(_OPTIMIZERS), _OPTIONS_OF_OPTIMIZERS)]

    return {
        "--optimizer": optimizer,
        "--fmax": lambda: [_value(draw, "0.01", "1e-6")],
        "--cell": lambda: [draw.choice(_CELLS)],
        "--dtype": lambda: [_value(draw, "float64", "float32", "float16", "f8")],
        "--n-conformers": lambda: [_value(draw, "1", "2")],
        "--seed": lambda: [_value(draw, "1", "200000", "200001")],
    }


def _relax(draw: random.Random) -> list[str]:
    options = _shared(draw) | {
        "--output": lambda: [draw.choice(_OUTPUTS)],
        "-o": lambda: [draw.choice(_OUTPUTS)],
        "--overwrite": list,
        "--resume": list,
        "--strict": list,
        "--quiet": list,
        "--trajectory": lambda: [_value(draw, "0", "1", "5")],
        "--trajectory-of": lambda: [_value(draw, "ar3.8", "nobody")],
        "--checkpoint": lambda: [_value(draw, "1", "0.1")],
        "--workers": lambda: [_value(draw, "1", "2")],
    }
    # Few steps, so that no command takes long.
    steps = ["--max-steps", draw.choice(("0", "1", "3", "3", "-1", "x", "", "2147483648"))]
    return [*_inputs(draw), *_model(draw), *steps, *_some(draw, options, 4)]


def _verify(draw: random.Random) -> list[str]:
    draws = ["--draws", draw.choice(("1", "2", "0", "-1", "x"))]
    return [
        *_inputs(draw),
        *_model(draw),
        *draws,
        "--max-steps",
        "2",
        *_some(draw, _shared(draw), 2),
    ]


def _check(draw: random.Random) -> list[str]:
    options = {
        "--precision": lambda: [_value(draw, "1e-9")],
        "--checks": lambda: [_value(draw, "batching", "forces", "forces,batching", "nothing")],
        "--dtype": lambda: [_value(draw, "float64")],
    }
    draws = ["--draws", draw.choice(("1", "0", "-1", "x"))]
    return [*_inputs(draw), *_model(draw), *draws, *_some(draw, options, 2)]


def _store(draw: random.Random) -> str:
    return "store.h5" if draw.random() < 0.6 else draw.choice(_INPUTS)


def _info(draw: random.Random) -> list[str]:
    return [_store(draw), *_some(draw, {"--json": list}, 1)]


def _export(draw: random.Random) -> list[str]:
    options = {
        "--overwrite": list,
        "--status": lambda: [_value(draw, "converged", "failed", "max_steps", "nothing")],
    }
    return [_store(draw), "-o", draw.choice(_OUTPUTS), *_some(draw, options, 2)]


def _report(draw: random.Random) -> list[str]:
    options = {"--overwrite": list, "-o": lambda: [draw.choice(_OUTPUTS)]}
    return [_store(draw), *_some(draw, options, 2)]


_COMMANDS: dict[str, Callable[[random.Random], list[str]]] = {
    "relax": _relax,
    "verify": _verify,
    "check": _check,
    "info": _info,
    "export": _export,
    "report": _report,
    "potentials": lambda draw: [],
    "optimizers": lambda draw: [],
    "nothing": lambda draw: [draw.choice(_VALUES)],
}
