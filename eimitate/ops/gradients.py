"""Functions that are the identity forwards."""

import jax


def scale_gradient(x: jax.Array, scale: float) -> jax.Array:
  """`x`, whose gradient is multiplied by `scale` on the way back."""
  return scale * x + (1 - scale) * jax.lax.stop_gradient(x)
