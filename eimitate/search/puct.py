"""EfficientImitate's search (appendix A.2) on `mctx.search`."""

import chex
import jax
import jax.numpy as jnp
import mctx

from eimitate import types
from eimitate.search import actions as actions_lib
from eimitate.search import base
from eimitate.search import recurrent
from eimitate.search import root as root_lib
from eimitate.search import selection


def make_search(config: base.Config, model: base.Model) -> base.Search:
  """Builds the pUCT search; see `base.Search`."""

  def search(params, rng_key, latent, *, noise, temperature=0.0):
    search_key, select_key = jax.random.split(rng_key)
    tree, actions = grow_tree(config, model, params, search_key, latent, noise=noise)
    visits = tree.children_visits[:, 0].astype(jnp.float32)
    weights = visits / visits.sum(1, keepdims=True)
    return types.SearchOutput(
      value=root_value(config, tree),
      actions=actions,
      weights=weights,
      selected=root_lib.sample_visits(select_key, weights, temperature),
    )

  return search


def grow_tree(
  config: base.Config,
  model: base.Model,
  params: types.Params,
  rng_key: chex.PRNGKey,
  latent: jax.Array,
  *,
  noise: bool,
) -> tuple[mctx.Tree, jax.Array]:
  """mctx's batched tree after all simulations, and the root's actions `[B, K, A]`."""
  actions_key, prior_key, search_key = jax.random.split(rng_key, 3)
  actions = actions_lib.sample_root_actions(config, model, params, actions_key, latent)
  prior = root_lib.prior(config, prior_key, len(latent), noise)
  root_q = root_lib.evaluate_children(model, params, latent, actions)
  root = mctx.RootFnOutput(
    prior_logits=jnp.log(prior),
    # The reference counts the root's visit but not its value.
    value=jnp.zeros(len(latent)),
    embedding=recurrent.root_embedding(latent),
  )
  tree = mctx.search(
    params,
    search_key,
    root=root,
    recurrent_fn=recurrent.make_recurrent_fn(config, model, actions),
    root_action_selection_fn=selection.make_root_selection(config),
    interior_action_selection_fn=selection.make_interior_selection(config),
    num_simulations=config.num_simulations,
    extra_data=selection.init_statistics(prior, root_q, config.num_simulations + 1),
    loop_fn=_refreshing_loop,
  )
  return tree, actions


def root_value(config: base.Config, tree: mctx.Tree) -> jax.Array:
  """Mean return of the simulations, `[B]`, over N or, with `count_root`, over N + 1."""
  value = tree.node_values[:, 0]
  if config.count_root:
    return value
  return value * (config.num_simulations + 1) / config.num_simulations


def _refreshing_loop(lower, upper, body, init):
  def refreshed_body(i, state):
    rng_key, tree = body(i, state)
    return rng_key, selection.refresh(tree)

  return jax.lax.fori_loop(lower, upper, refreshed_body, init)
