"""What `check_potential` says of every adapter for models of others, and of our own potentials.

Each potential is checked on small structures, alone and then in 300 random companies, and relaxes
a batch. Models of other packages are small and have random weights. Those whose package is not
installed are reported as such, not left out: to see them all, install what 'Other models' in
CONTRIBUTING.md says.
"""

import importlib
import importlib.util
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ase
import jax
import numpy as np
from ase.build import bulk, fcc111, molecule

import kups_relax as kr

# Random batches in which bits are compared.
COMPANIES = 300

# Models that compute in 32 bits, in a run of either dtype.
SINGLE = float(np.finfo(np.float32).eps)

NEQUIX = {
    "hidden_irreps": "8x0e+8x1o",
    "lmax": 2,
    "cutoff": 3.0,
    "n_layers": 2,
    "radial_basis_size": 8,
    "radial_mlp_size": 16,
    "radial_mlp_layers": 2,
    "radial_polynomial_p": 6.0,
    "mlp_init_scale": 4.0,
    "index_weights": False,
    "layer_norm": True,
    "shift": -0.3,
    "scale": 1.7,
    "avg_n_neighbors": 12.0,
}
MLIP: dict[str, dict[str, Any]] = {
    "Mace": {
        "num_channels": 4,
        "l_max": 1,
        "node_symmetry": 1,
        "correlation": 2,
        "readout_irreps": ["4x0e", "0e"],
        "num_layers": 2,
        "radial_mlp_hidden": [8, 8],
    },
    "Nequip": {"num_layers": 2, "num_channels": 4, "l_max": 1},
    "Visnet": {"num_layers": 2, "num_channels": 16, "num_heads": 4, "l_max": 1},
}


def main() -> dict[str, Any]:
    """Check them all."""
    figures: dict[str, Any] = {}
    for name, needs, make, structures, precision in _cases():
        if not all(importlib.util.find_spec(package) for package in needs):
            figures[name] = f"not run: {', '.join(needs)} not installed"
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what other packages deprecate
            potential = make()
            figures[name] = _figures(potential, structures(), precision)
        print(name, *figures[name]["report"], sep="\n   ", flush=True)
    return figures


def _figures(potential: Any, structures: list[ase.Atoms], precision: float | None) -> dict:
    checked = structures[:3]
    report = kr.testing.check_potential(potential, checked, precision=precision)
    alone = {
        dtype: kr.testing.check_potential(
            potential, checked, dtype=dtype, checks=["batch invariance"], draws=COMPANIES
        )["batch invariance"]
        for dtype in ("float64", "float32")
    }
    result = kr.relax(structures, potential, fmax=0.05, max_steps=300, progress=False)
    return {
        "check_potential": "passed" if report.ok else "failed",
        "report": str(report).splitlines(),
        "bits that depend on the company, of so many comparisons": {
            dtype: [int(check.value), check.n_comparisons] for dtype, check in alone.items()
        },
        "relax": str(result),
    }


def _cases() -> Iterator[
    tuple[str, tuple[str, ...], Callable[[], Any], Callable[[], list[ase.Atoms]], float | None]
]:
    """Name, packages, potential, structures (three are checked), precision if not the run's."""
    lj = kr.potentials.LennardJones(0.0104, 3.4, cutoff=7.0, onset=5.0)
    nickel = kr.potentials.Morse(0.4205, 2.78, 3.95, cutoff=7.0, onset=5.0)
    yield "lennard-jones", (), lambda: lj, _argon, None
    yield "morse", (), lambda: nickel, _metals, None
    yield "mmff94", ("rdkit",), kr.potentials.MMFF94, _molecules, None
    for batching in ("one-by-one", "together"):
        options = {"batching": batching}
        yield f"examples/own_model.py, {batching}", (), lambda o=options: _own(o), _metals, None
        yield (
            *(f"nequix, {batching}", ("nequix",), lambda o=options: _nequix(o)),
            *(_organics, SINGLE),
        )
        for network in MLIP:
            yield (
                *(
                    f"mlip {network}, {batching}",
                    ("mlip",),
                    lambda n=network, o=options: _mlip(n, o),
                ),
                *(_organics, SINGLE),
            )


def _own(options: dict[str, Any]) -> Any:
    folder = str(pathlib.Path(__file__).parent.parent / "examples")
    sys.path.insert(0, folder)
    try:
        example = importlib.import_module("own_model")
    finally:
        sys.path.remove(folder)
    random = np.random.default_rng(0)
    batches = example.labelled([example.structure(random) for _ in range(96)], 16)
    params = example.train(example.new_params(random), batches, 20, random)
    return kr.potentials.GraphModel(
        example.model, params, example.CUTOFF, elements=example.ELEMENTS, **options
    )


def _nequix(options: dict[str, Any]) -> Any:
    precision = jax.config.jax_default_matmul_precision
    model = importlib.import_module("nequix.model")
    jax.config.update("jax_default_matmul_precision", precision)
    network = model.Nequix(
        jax.random.key(3), n_species=4, atom_energies=[-1.0, -5.0, -9.0, -3.0], **NEQUIX
    )
    return kr.potentials.Nequix(network, {"atomic_numbers": [1, 6, 8, 14]}, **options)


def _mlip(name: str, options: dict[str, Any]) -> Any:
    models, data = importlib.import_module("mlip.models"), importlib.import_module("mlip.data")
    properties = importlib.import_module("mlip.typing.properties").Properties(stress=True)
    dataset = data.DatasetInfo(
        atomic_energies_map={1: -1.0, 6: -5.0, 8: -9.0, 14: -3.0},
        graph_cutoff_angstrom=3.0,
        avg_num_neighbors=12.0,
        avg_r_min_angstrom=1.0,
        scaling_stdev=1.3,
    )
    network = getattr(models, name)
    network = network(network.Config(**MLIP[name]), dataset)
    return kr.potentials.Mlip(
        models.ForceField.from_mlip_network(network, properties, seed=1), **options
    )


def _rattled(structures: list[ase.Atoms], spread: float) -> list[ase.Atoms]:
    """Three of them as they are, and some shaken copies of each."""
    out = [atoms.copy() for atoms in structures]
    for seed in range(4):
        for atoms in structures:
            out.append(atoms.copy())
            out[-1].rattle(spread, seed=seed + 10 * len(out))
    return out


def _argon() -> list[ase.Atoms]:
    cluster = bulk("Ar", a=5.3, cubic=True).repeat((2, 1, 1))
    cluster.pbc = False
    return _rattled([bulk("Ar", a=5.3, cubic=True), bulk("Ar", a=5.4), cluster], 0.1)


def _metals() -> list[ase.Atoms]:
    alloy, slab = bulk("Cu", a=3.8, cubic=True), fcc111("Cu", (2, 1, 3), a=3.7, vacuum=5.0)
    alloy.symbols[0] = slab.symbols[-1] = "Au"
    cluster = bulk("Au", a=4.0, cubic=True).repeat((2, 1, 1))
    cluster.pbc, cluster.cell[:] = False, 0
    return _rattled([alloy, cluster, slab], 0.1)


def _molecules() -> list[ase.Atoms]:
    return _rattled([molecule(name) for name in ("CH3CH2OH", "C6H6", "CH3CONH2")], 0.05)


def _organics() -> list[ase.Atoms]:
    crystal = bulk("SiC", "zincblende", a=4.4)
    return _rattled([molecule("CH3OH"), crystal, molecule("CO2")], 0.05)
