"""Models of the package nequix."""

import os
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.data._symbols import SYMBOLS
from kups_relax.errors import OptionError, PotentialError, shown
from kups_relax.potentials._graph import Graph
from kups_relax.potentials._graph_model import GraphModel


def Nequix(
    model: Any,
    config: Mapping[str, Any] | None = None,
    *,
    skin: float = 0.5,
    batching: Literal["one-by-one", "together"] = "one-by-one",
) -> GraphModel:
    """Relax with a Nequix model, in float32 as nequix does, in a run of either dtype.

    Args:
        model: The path of a .nqx file, or a `nequix.model.Nequix`.
        config: With a model, the configuration that `nequix.model.load_model` returned with it;
            its "atomic_numbers" are those that the model knows.
        skin: See `GraphModel`.
        batching: See `GraphModel`.

    Returns:
        The model as a potential.

    Raises:
        PotentialError: nequix is missing.
        OptionError: A model came without its configuration, or something else than a model.

    Example:
        >>> potential = Nequix("nequix-mp-1.nqx")  # doctest: +SKIP

    References:
        T. Koker, M. Kotak, T. Smidt, doi:10.48550/arXiv.2508.16067.
    """
    # Importing nequix sets this for the whole process; its models get it below.
    precision = jax.config.jax_default_matmul_precision  # pyright: ignore
    try:
        import equinox  # pyright: ignore
        import nequix.model  # pyright: ignore
    except ImportError as error:
        raise PotentialError(
            f"Nequix needs the package nequix ({error}). Install it: pip install "
            "'kups-relax[nequix]'."
        ) from error
    finally:
        jax.config.update("jax_default_matmul_precision", precision)

    if isinstance(model, str | os.PathLike):
        with jax.enable_x64(False):
            model, config = nequix.model.load_model(os.fspath(model), False)
    if not isinstance(model, nequix.model.Nequix):
        raise OptionError(
            f"{shown(model)} is no Nequix model; expected the path of a .nqx file or one."
        )
    if config is None or "atomic_numbers" not in config:
        raise OptionError(
            "a Nequix model does not know which elements it was trained on; give the "
            "configuration that belongs to it, or {'atomic_numbers': [...]}."
        )
    numbers = sorted(config["atomic_numbers"])
    species = np.zeros(len(SYMBOLS), np.int32)
    species[numbers] = np.arange(len(numbers))
    params, static = equinox.partition(model, equinox.is_array)

    def energies(params: Any, graph: Graph) -> jax.Array:
        network = equinox.combine(params, static)
        kinds = jnp.asarray(species)[graph.numbers]
        with jax.default_matmul_precision("highest"):
            energies = network.node_energies(graph.vectors(), kinds, graph.senders, graph.receivers)
        return energies[:, 0]

    return GraphModel(
        energies,
        params,
        float(model.cutoff),
        skin=skin,
        dtype="float32",
        elements=tuple(SYMBOLS[n] for n in numbers),
        batching=batching,
        name="nequix",
    )
