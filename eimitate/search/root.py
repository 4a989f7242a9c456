"""The root: its children's initial values, its prior's noise, the action it leads to."""

import chex
import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.search import base


def evaluate_children(
  model: base.Model,
  params: types.Params,
  latent: jax.Array,
  actions: jax.Array,
) -> jax.Array:
  """Q(s, a) = R(s, a) + gamma V(g(s, a)) of every root action, `[B, K]`.

  One slot at a time: the value network's logits of a whole `[B, K]` batch would not fit a cache.

  Args:
    model: the model.
    params: its parameters.
    latent: `[B, L]`.
    actions: `[B, K, A]`.
  """

  def evaluate(action):
    reward, next_latent = model.step(params, latent, action)
    return reward + model.discount * model.value(params, next_latent)

  return jax.lax.map(evaluate, actions.swapaxes(0, 1)).T


def prior(config: base.Config, rng_key: chex.PRNGKey, batch: int, noise: bool) -> jax.Array:
  """pi-hat over the sampled actions, `[B, K]`: uniform, with Dirichlet noise if asked (Eq. 4)."""
  uniform = jnp.full((batch, config.num_actions), 1 / config.num_actions)
  if not noise:
    return uniform
  alpha = jnp.full(config.num_actions, config.dirichlet_alpha)
  dirichlet = jax.random.dirichlet(rng_key, alpha, (batch,))
  return (1 - config.dirichlet_fraction) * uniform + config.dirichlet_fraction * dirichlet


def sample_visits(
  rng_key: chex.PRNGKey, weights: jax.Array, temperature: jax.Array | float
) -> jax.Array:
  """Indices `[B]` drawn from weights^(1/temperature), `[B, K]`; the most visited at 0."""
  # Visit counts tie often: at temperature 0 the draw is uniform among the most visited.
  most = jnp.where(weights == weights.max(-1, keepdims=True), 0.0, -jnp.inf)
  logits = jnp.where(temperature > 0, jnp.log(weights) / jnp.maximum(temperature, 1e-3), most)
  return jax.random.categorical(rng_key, logits).astype(jnp.int32)
