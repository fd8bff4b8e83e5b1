"""Inputs that once failed: those of results, data and documentation."""

import jax.numpy as jnp
import numpy as np

from kups_relax import Index, Table


def test_case_28_what_has_no_rows_is_reduced_and_updated():
    table = Table.new([], jnp.zeros((0, 3)))
    index = Index.new([])
    assert index.sum_over(table.data).data.shape == (0, 3)
    assert index.mean_over(jnp.zeros((0, 0))).data.shape == (0, 0)
    assert len(table.update(index, table.data)) == 0
    two_keys = Index.integer(np.zeros(0, int), n=2)
    assert two_keys.sum_over(table.data).data.tolist() == [[0.0] * 3] * 2
