"""What frames may look like and still show the same (DrQ, Kostrikov et al., 2021; SPR)."""

import chex
import jax
import jax.numpy as jnp


def random_shift(rng_key: chex.PRNGKey, frames: jax.Array, padding: int = 4) -> jax.Array:
  """Moves each image by up to `padding` pixels either way; its edge is repeated.

  Args:
    rng_key: consumed.
    frames: `[B, H, W, C]`.
    padding: pixels.

  Returns:
    `[B, H, W, C]`.
  """
  chex.assert_rank(frames, 4)
  batch, height, width, _ = frames.shape
  down, right = jax.random.randint(rng_key, (2, batch), -padding, padding + 1)
  along = lambda size, shift: jnp.clip(jnp.arange(size)[None] + shift[:, None], 0, size - 1)
  rows, columns = along(height, down), along(width, right)
  return jax.vmap(lambda x, r, c: x[r][:, c])(frames, rows, columns)


def random_intensity(rng_key: chex.PRNGKey, frames: jax.Array, scale: float = 0.05) -> jax.Array:
  """Multiplies each image by 1 + `scale` times a normal number clipped to [-2, 2].

  Args:
    rng_key: consumed.
    frames: `[B, H, W, C]` floating point.
    scale: standard deviation of the factor.

  Returns:
    `[B, H, W, C]`.
  """
  chex.assert_rank(frames, 4)
  noise = jax.random.normal(rng_key, (len(frames), 1, 1, 1))
  return frames * (1 + scale * jnp.clip(noise, -2, 2))
