"""Projection of categorical distributions onto a fixed support (Bellemare et al., 2017)."""

import chex
import jax
import jax.numpy as jnp


def project(locations: jax.Array, probabilities: jax.Array, support: jax.Array) -> jax.Array:
  """Splits every atom's mass between its two neighbours on the support.

  Args:
    locations: `[..., N]` where the mass is; beyond the support's ends it moves to the end.
    probabilities: `[..., N]`.
    support: `[M]`, evenly spaced.

  Returns:
    `[..., M]` probabilities on `support`, of the same mean where nothing was moved to an end.
  """
  chex.assert_equal_shape([locations, probabilities])
  chex.assert_rank(support, 1)
  lowest, highest, last = support[0], support[-1], support.shape[0] - 1
  position = (jnp.clip(locations, lowest, highest) - lowest) * (last / (highest - lowest))
  index = jnp.expand_dims(jnp.arange(last + 1), tuple(range(position.ndim)))
  share = jnp.clip(1 - jnp.abs(position[..., None] - index), 0, 1)
  return (probabilities[..., None] * share).sum(-2)
