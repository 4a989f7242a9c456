"""Gumbel MuZero (Danihelka et al., 2022) over the same sampled actions, for small budgets.

Where it looks one ply ahead the improved policy pays for leaving what the behaviour-cloning policy
would do, as the acting search does (`cem`). Without that the policy learns actions that nobody
takes, whose errors no replay corrects, and the values of these actions with them.
"""

import functools

import jax
import jax.numpy as jnp
import mctx

from eimitate import types
from eimitate.ops import squashed_normal
from eimitate.search import actions as actions_lib
from eimitate.search import base
from eimitate.search import recurrent
from eimitate.search import root as root_lib

# mctx's constant of the completed-Q transform: weights are softmax((50 + most visits) scale q).
_VISITS_INIT = 50


def make_search(config: base.Config, model: base.Model) -> base.Search:
  """Builds the Gumbel search; see `base.Search`. The temperature plays no part in it.

  When every sampled action is considered once (simulations = K = m) there is nothing left for a
  tree to decide, and all children are evaluated at once: same results, a fraction of the time. Only
  then has `bc_penalty` a part in it: a tree does not know it.
  """
  one_ply = config.num_simulations == config.num_actions <= config.max_considered_actions
  run = _one_ply if one_ply else _tree

  def search(params, rng_key, latent, *, noise, temperature=0.0):
    del temperature
    actions_key, search_key = jax.random.split(rng_key)
    actions = actions_lib.sample_root_actions(config, model, params, actions_key, latent)
    return run(config, model, params, search_key, latent, actions, noise)

  return search


def _search_tree(config, model, params, rng_key, latent, actions, noise):
  rng_key, ties_key = jax.random.split(rng_key)
  return mctx.gumbel_muzero_policy(
    params,
    rng_key,
    mctx.RootFnOutput(
      prior_logits=recurrent.break_ties(ties_key, *actions.shape[:2]),
      value=model.value(params, latent),
      embedding=recurrent.root_embedding(latent),
    ),
    recurrent.make_recurrent_fn(config, model, actions, ties=True),
    config.num_simulations,
    max_num_considered_actions=config.max_considered_actions,
    qtransform=functools.partial(
      mctx.qtransform_completed_by_mix_value, value_scale=config.value_scale
    ),
    gumbel_scale=1.0 if noise else 0.0,
  )


def _tree(config, model, params, rng_key, latent, actions, noise):
  output = _search_tree(config, model, params, rng_key, latent, actions, noise)
  value = output.search_tree.node_values[:, 0]
  return types.SearchOutput(value, actions, output.action_weights, output.action)


def _one_ply(config, model, params, rng_key, latent, actions, noise):
  q = root_lib.evaluate_children(model, params, latent, actions)
  score = q
  if config.bc_penalty and config.num_bc_actions:
    mode = squashed_normal.mode(model.bc_policy(params, latent))
    score -= config.bc_penalty * ((actions - mode[:, None]) ** 2).mean(-1)
  lowest, highest = score.min(1, keepdims=True), score.max(1, keepdims=True)
  rescaled = (score - lowest) / jnp.maximum(highest - lowest, 1e-8)
  logits = (_VISITS_INIT + 1) * config.value_scale * rescaled
  weights = jax.nn.softmax(logits)
  gumbel = jax.random.gumbel(rng_key, logits.shape) if noise else 0.0
  value = (model.value(params, latent) + q.sum(1)) / (config.num_actions + 1)
  selected = jnp.argmax(logits + gumbel, 1).astype(jnp.int32)
  return types.SearchOutput(value, actions, weights, selected)
