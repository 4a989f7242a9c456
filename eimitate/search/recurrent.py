"""Following an edge of the tree: mctx's recurrent function over sampled actions."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import mctx

from eimitate.search import actions as actions_lib
from eimitate.search import base


class Embedding(NamedTuple):
  """What mctx keeps per node: latent `[B, L]` and whether it is the root `[B]`."""

  latent: jax.Array
  is_root: jax.Array


def root_embedding(latent: jax.Array) -> Embedding:
  """The embedding of roots at `latent` `[B, L]`."""
  return Embedding(latent, jnp.ones(len(latent), bool))


def break_ties(rng_key: chex.PRNGKey, batch: int, num_actions: int) -> jax.Array:
  """Prior logits `[batch, num_actions]` that are all but uniform, so that ties fall at random.

  Gumbel MuZero takes the first of equal actions, and the first are all the policy's.
  """
  return jax.random.uniform(rng_key, (batch, num_actions), maxval=1e-5)


def make_recurrent_fn(
  config: base.Config, model: base.Model, root_actions: jax.Array, ties: bool = False
):
  """mctx's `recurrent_fn` for trees whose roots hold `root_actions` `[B, K, A]`.

  With `ties` the prior breaks them, else it is uniform, for a selection that breaks them itself.
  """

  def recurrent_fn(params, rng_key, slot, embedding):
    from_bc = slot >= config.num_actions - config.num_bc_actions
    noise = jax.random.normal(rng_key, (len(slot), root_actions.shape[-1]))
    drawn = actions_lib.draw_action(model, params, embedding.latent, from_bc, noise)
    at_root = jnp.take_along_axis(root_actions, slot[:, None, None], 1)[:, 0]
    action = jnp.where(embedding.is_root[:, None], at_root, drawn)
    reward, latent = model.step(params, embedding.latent, action)
    output = mctx.RecurrentFnOutput(
      reward=reward,
      discount=jnp.full_like(reward, model.discount),
      prior_logits=(
        break_ties(jax.random.fold_in(rng_key, 1), len(slot), config.num_actions)
        if ties
        else jnp.zeros((len(slot), config.num_actions))
      ),
      value=model.value(params, latent),
    )
    return output, Embedding(latent, jnp.zeros_like(embedding.is_root))

  return recurrent_fn
