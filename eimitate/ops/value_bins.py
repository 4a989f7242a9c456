"""Values as categorical distributions (MuZero, appendix F; EfficientImitate, appendix A.1.1).

A scalar `x` is squashed by h(x) = sign(x)(sqrt(|x| + 1) - 1) + eps x and represented on a uniform
grid over [-limit, limit] by the two bins around h(x).
"""

import chex
import jax
import jax.numpy as jnp

_EPSILON = 1e-3


def squash(x: jax.Array) -> jax.Array:
  """h(x), any shape."""
  return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1) - 1) + _EPSILON * x


def unsquash(y: jax.Array) -> jax.Array:
  """The inverse of `squash`, any shape."""
  root = jnp.sqrt(1 + 4 * _EPSILON * (jnp.abs(y) + 1 + _EPSILON))
  # (root - 1) loses digits in float32 near 0; its conjugate does not.
  magnitude = (2 * (jnp.abs(y) + 1 + _EPSILON) / (root + 1)) ** 2 - 1
  return jnp.sign(y) * magnitude


def expectation(logits: jax.Array, limit: float) -> jax.Array:
  """The scalar value of a categorical distribution.

  Args:
    logits: `[..., N]` over `N` bins spread uniformly over [-limit, limit] (squashed).
    limit: end of the grid, in squashed units.

  Returns:
    `[...]` h^-1 of the expected bin.
  """
  grid = jnp.linspace(-limit, limit, logits.shape[-1])
  weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))
  # One pass over the bins: the matrix product gives normaliser and first moment together.
  moments = weights @ jnp.stack([jnp.ones_like(grid), grid], -1)
  return unsquash(moments[..., 1] / moments[..., 0])


def cross_entropy(logits: jax.Array, value: jax.Array, limit: float) -> jax.Array:
  """Cross-entropy of `logits` with the two-hot encoding of h(value).

  Args:
    logits: `[..., N]`.
    value: `[...]` scalar targets; h(value) is clipped to the grid.
    limit: end of the grid, in squashed units.

  Returns:
    `[...]` nats.
  """
  chex.assert_equal_shape_prefix([logits, value], value.ndim)
  bins = logits.shape[-1]
  position = (jnp.clip(squash(value), -limit, limit) + limit) * ((bins - 1) / (2 * limit))
  lower = jnp.clip(jnp.floor(position), 0, bins - 2)
  upper_weight = position - lower
  index = lower.astype(jnp.int32)[..., None]
  lower_logit = jnp.take_along_axis(logits, index, -1)[..., 0]
  upper_logit = jnp.take_along_axis(logits, index + 1, -1)[..., 0]
  expected_logit = (1 - upper_weight) * lower_logit + upper_weight * upper_logit
  return jax.nn.logsumexp(logits, -1) - expected_logit
