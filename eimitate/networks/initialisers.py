"""PyTorch's default initialisation, which the paper's networks assume."""

import jax
import jax.numpy as jnp


def torch_kernel(rng_key, shape, dtype=jnp.float32):
  """Uniform in +-1/sqrt(fan_in); `shape` is `[..., in, out]`, all but the last being fan-in."""
  return jax.random.uniform(rng_key, shape, dtype, -1, 1) * _bound(shape[:-1])


def torch_bias(fan_in: int):
  """An initialiser for the bias of a layer with `fan_in` inputs: uniform in +-1/sqrt(fan_in)."""

  def init(rng_key, shape, dtype=jnp.float32):
    return jax.random.uniform(rng_key, shape, dtype, -1, 1) * _bound((fan_in,))

  return init


def _bound(fan_in_shape) -> float:
  fan_in = 1
  for size in fan_in_shape:
    fan_in *= size
  return fan_in**-0.5
