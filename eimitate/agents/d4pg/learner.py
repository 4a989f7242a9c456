"""D4PG's learner: sample, two losses, one step of Adam."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from eimitate import types
from eimitate.agents.d4pg import config as config_lib
from eimitate.agents.d4pg import losses
from eimitate.agents.d4pg.networks import make_networks
from eimitate.replay import episodes


class LearnerState(NamedTuple):
  """params, target_params: trees of arrays; opt_state: optax's; updates: `[]` int32."""

  params: types.Params
  target_params: types.Params
  opt_state: optax.OptState
  updates: jax.Array


def make_agent(config: config_lib.Config, spec: types.EnvironmentSpec) -> types.Agent:
  """Builds D4PG for an environment.

  Args:
    config: settings.
    spec: sizes of the environment's observations and actions.

  Returns:
    A `types.Agent` whose state is a `LearnerState`. Its `act` adds normal noise of standard
    deviation `temperature`; its `update` learns from the replay's rewards and looks at no
    demonstrations.

  Raises:
    InputError: if a setting is out of range.
  """
  config_lib.validate(config)
  networks = make_networks(config, spec)
  optimiser = optax.adam(config.learning_rate)

  def init(rng_key):
    params = networks.init(rng_key)
    return LearnerState(
      params, jax.tree.map(jnp.copy, params), optimiser.init(params), jnp.int32(0)
    )

  def act(params, rng_key, observations, temperature):
    action = networks.policy(params, observations)
    return jnp.clip(action + temperature * jax.random.normal(rng_key, action.shape), -1, 1)

  def act_greedily(params, rng_key, observations):
    del rng_key
    return networks.policy(params, observations)

  return types.Agent(
    init=init,
    act=act,
    act_greedily=act_greedily,
    update=functools.partial(_update, config, networks, optimiser),
    params=lambda state: state.params,
  )


def _update(config, networks, optimiser, state, rng_key, replay, demonstrations, axis_name=None):
  """One gradient step; see `types.Agent.update`."""
  del demonstrations
  devices = 1
  if axis_name is not None:
    devices = jax.lax.axis_size(axis_name)
    rng_key = jax.random.fold_in(rng_key, jax.lax.axis_index(axis_name))
  window = episodes.sample(replay, rng_key, config.batch_size // devices, config.n_step - 1)
  batch = losses.from_window(window, config.discount, config.reward_scale)

  copy_now = state.updates % config.target_update_interval == 0
  target_params = jax.tree.map(
    lambda new, old: jnp.where(copy_now, new, old), state.params, state.target_params
  )
  gradient_fn = jax.grad(losses.total_loss, has_aux=True)
  gradient, metrics = gradient_fn(state.params, target_params, networks, batch)
  if axis_name is not None:
    gradient, metrics = jax.lax.pmean((gradient, metrics), axis_name)
  metrics['loss/gradient_norm'] = optax.tree.norm(gradient)
  step, opt_state = optimiser.update(gradient, state.opt_state, state.params)
  params = optax.apply_updates(state.params, step)
  return LearnerState(params, target_params, opt_state, state.updates + 1), metrics
