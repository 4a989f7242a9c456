"""What the learners share: their state, a device's share of the work, one optimiser step."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from eimitate import types


class LearnerState(NamedTuple):
  """What a learner knows.

  params, target_params: trees of arrays.
  opt_state: optax's.
  updates: `[]` int32.
  average: of the parameters over the last updates, where they are averaged.
  """

  params: types.Params
  target_params: types.Params
  opt_state: optax.OptState
  updates: jax.Array
  average: types.Params | None = None


def init(
  params: types.Params, optimiser: optax.GradientTransformation, averaged: bool = False
) -> LearnerState:
  """The state before the first update; target and, if `averaged`, average are copies."""
  copy = lambda: jax.tree.map(jnp.copy, params)
  average = copy() if averaged else None
  return LearnerState(params, copy(), optimiser.init(params), jnp.int32(0), average)


def acting_params(state: LearnerState) -> types.Params:
  """The average, where there is one, else the latest parameters."""
  return state.params if state.average is None else state.average


def share(rng_key: chex.PRNGKey, axis_name: str | None) -> tuple[chex.PRNGKey, int]:
  """This device's own key, and among how many devices the batch is shared."""
  if axis_name is None:
    return rng_key, 1
  devices = jax.lax.axis_size(axis_name)
  return jax.random.fold_in(rng_key, jax.lax.axis_index(axis_name)), devices


def current_target(state: LearnerState, interval: int) -> types.Params:
  """The target parameters of this update: copied anew at every `interval` updates."""
  copy_now = state.updates % interval == 0
  copy = lambda new, old: jnp.where(copy_now, new, old)
  return jax.tree.map(copy, state.params, state.target_params)


def step(
  state: LearnerState,
  target_params: types.Params,
  optimiser: optax.GradientTransformation,
  gradient: types.Params,
  metrics: types.Metrics,
  axis_name: str | None,
) -> tuple[LearnerState, types.Metrics]:
  """Averages gradient and metrics over devices and takes one step; adds `loss/gradient_norm`."""
  if axis_name is not None:
    gradient, metrics = jax.lax.pmean((gradient, metrics), axis_name)
  metrics = {**metrics, 'loss/gradient_norm': optax.tree.norm(gradient)}
  change, opt_state = optimiser.update(gradient, state.opt_state, state.params)
  params = optax.apply_updates(state.params, change)
  return LearnerState(params, target_params, opt_state, state.updates + 1, state.average), metrics


def average(state: LearnerState, share: float) -> LearnerState:
  """Takes the latest parameters into their average, if there is one, of which a `share` stays.

  Less stays at first: the average is then of the last tenth of the updates, and does not remember
  how it began.
  """
  if state.average is None:
    return state
  kept = jnp.minimum(share, state.updates / (9 + state.updates))
  return state._replace(average=optax.incremental_update(state.params, state.average, 1 - kept))
