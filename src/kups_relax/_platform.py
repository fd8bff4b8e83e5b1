"""What the installed JAX must be fit for."""

import jax

from kups_relax.errors import KupsRelaxError


def check_platform() -> None:
    """Refuse a JAX that computes wrong sums.

    Raises:
        KupsRelaxError: JAX 0.10.2, whose CPU reductions after a vmapped product are wrong
            (jax issue 39103).
    """
    if jax.__version__.startswith("0.10.2"):
        raise KupsRelaxError(
            f"jax {jax.__version__} silently computes wrong sums on CPU (jax issue 39103). "
            "Install another one: pip install 'jax!=0.10.2'."
        )
