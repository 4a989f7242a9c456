"""Small random models for the searches' tests."""

import jax
import jax.numpy as jnp

from eimitate.ops import squashed_normal
from eimitate.search import base

LATENT, ACTION = 6, 2


def make_model(
  seed: int, scale: float = 1.0, discount: float = 0.9, action_size: int = ACTION
) -> base.Model:
  """A random nonlinear model; rewards and values are multiplied by `scale`."""
  keys = jax.random.split(jax.random.key(seed), 6)
  weight = lambda key, rows, columns: jax.random.normal(key, (rows, columns)) / rows**0.5
  to_policy, to_bc = (weight(key, LATENT, 2 * action_size) for key in keys[:2])
  to_reward = weight(keys[2], LATENT + action_size, 1)
  to_latent = 2 * weight(keys[3], LATENT + action_size, LATENT)
  to_value = weight(keys[4], LATENT, 1)

  policy_from = lambda weights: (
    lambda params, latent: squashed_normal.from_outputs(latent @ weights)
  )

  def step(params, latent, action):
    del params
    x = jnp.concatenate([latent, action], -1)
    return scale * jax.nn.softplus(x @ to_reward)[..., 0], jnp.tanh(x @ to_latent)

  def value(params, latent):
    del params
    return scale * (latent @ to_value)[..., 0]

  return base.Model(policy_from(to_policy), policy_from(to_bc), step, value, discount)


def latents(seed: int, batch: int) -> jax.Array:
  """Random roots `[B, L]`."""
  return jax.random.normal(jax.random.key(1000 + seed), (batch, LATENT))
