"""Importing costs nothing and changes nothing; 64 bit come without a flag."""

import os
import subprocess
import sys
import textwrap

import pytest

import kups_relax as kr


def python(code, **env):
    """Run code in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_imports_neither_jax_nor_ase_nor_rdkit():
    loaded = python("""
        import sys
        import kups_relax
        heavy = {"jax", "jaxlib", "numpy", "ase", "rdkit", "optax", "tqdm", "typer"}
        print(sorted(heavy & set(sys.modules)))
    """)
    assert loaded.strip() == "[]"


def test_importing_everything_starts_no_device_and_changes_no_config():
    out = python("""
        import jax
        before = dict(jax.config.values)
        import kups_relax
        from kups_relax import io, neighbors, ops, optimizers, potentials, relax, relaxation
        from kups_relax import testing, verify
        # Modules of JAX may add settings of their own when they are imported.
        changed = [k for k, v in before.items() if jax.config.values[k] != v]
        assert not changed, changed
        from jax._src import xla_bridge
        assert not xla_bridge._backends, "a device was asked for"
        import logging
        assert not logging.getLogger("kups_relax").handlers
        print(jax.config.jax_enable_x64)
    """)
    assert out.strip() == "False"


def test_ase_and_rdkit_wait_until_they_are_needed():
    loaded = python("""
        import sys
        import kups_relax
        from kups_relax import io, neighbors, ops, optimizers, potentials, relax, testing, verify
        print(sorted({"ase", "rdkit", "scipy.spatial"} & set(sys.modules)))
    """)
    assert loaded.strip() == "[]"


RELAX = """
    import threading
    import warnings
    import jax, numpy as np
    from ase import Atoms
    import kups_relax as kr

    atoms = Atoms("Ar3", [[0, 0, 0], [0, 0, 3.5], [0, 3.9, 1.0]])

    def relax():
        before = jax.config.jax_enable_x64
        result = kr.relax(atoms, kr.potentials.LennardJones(0.0104, 3.4), fmax=1e-9)
        assert jax.config.jax_enable_x64 == before
        assert result.converged.all()
        positions = result.atoms[0].positions
        assert not np.array_equal(positions, positions.astype(np.float32))
        prints.append(result.fingerprint[0])

    prints = []
    relax()
    thread = threading.Thread(target=relax)
    thread.start()
    thread.join()
    print(*prints, jax.config.jax_enable_x64)
"""


def test_float64_needs_no_flag_and_leaves_it_alone_in_any_thread():
    *prints, flag = python(RELAX, JAX_ENABLE_X64="0").split()
    assert flag == "False"
    *with_flag, flag = python(RELAX, JAX_ENABLE_X64="1").split()
    assert flag == "True"
    assert len(set(prints + with_flag)) == 1
    assert len(prints + with_flag) == 4


def test_public_names_are_there():
    for name in kr.__all__:
        assert getattr(kr, name) is not None
        assert name in dir(kr)
    assert {"relax", "verify", "Index", "Table", "potentials", "optimizers"} <= set(kr.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"kups_relax.*'relaxx'"):
        kr.relaxx  # noqa: B018
