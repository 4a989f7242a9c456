"""n-step returns."""

import chex
import jax
import jax.numpy as jnp


def n_step(
  rewards: jax.Array, discounts: jax.Array, mask: jax.Array, discount: float
) -> tuple[jax.Array, jax.Array]:
  """The discounted sum of rewards and the discount of the value that follows them.

  Where an episode is cut off within the n steps the sum is shorter, and the value that follows is
  that of its last observation; after a termination it has discount 0.

  Args:
    rewards: `[B, n]`.
    discounts: `[B, n]`, the environment's: 0 at a termination.
    mask: `[B, n]`, 1 where there was a step.
    discount: gamma.

  Returns:
    `[B]` sums and `[B]` discounts.
  """
  chex.assert_equal_shape([rewards, discounts, mask])
  steps = jnp.where(mask > 0, discount * discounts, 1)
  ahead = jnp.cumprod(steps, 1)
  before = jnp.concatenate([jnp.ones_like(ahead[:, :1]), ahead[:, :-1]], 1)
  return (before * jnp.where(mask > 0, rewards, 0)).sum(1), ahead[:, -1]
