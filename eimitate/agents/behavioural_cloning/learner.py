"""Behavioural cloning's learner: -log pi of the demonstrations' actions."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from eimitate import errors
from eimitate import types
from eimitate.agents import learning
from eimitate.agents.behavioural_cloning import config as config_lib
from eimitate.networks import mlp
from eimitate.networks import normaliser
from eimitate.ops import squashed_normal
from eimitate.replay import episodes


class LearnerState(NamedTuple):
  """params: a tree of arrays; opt_state: optax's; updates: `[]` int32."""

  params: types.Params
  opt_state: optax.OptState
  updates: jax.Array


def make_agent(config: config_lib.Config, spec: types.EnvironmentSpec) -> types.Agent:
  """Builds behavioural cloning for an environment.

  Args:
    config: settings.
    spec: the environment's sizes and its observations' mean and scale.

  Returns:
    A `types.Agent` whose state is a `LearnerState`. Its `update` looks at the demonstrations only.
    Its `act` draws from the policy, whatever the temperature; `act_greedily` takes the mode.

  Raises:
    InputError: if a setting is out of range, or the spec has no mean and scale, or has frames.
  """
  config_lib.validate(config)
  errors.check(not spec.frame, 'observations', 'frames', 'vectors')
  normalise = normaliser.make_normaliser(spec)
  module = mlp.MLP(config.policy, 2 * spec.action_size, zero_last=True)
  optimiser = optax.adamw(config.learning_rate, weight_decay=config.weight_decay)

  def policy(params, observations):
    outputs = module.apply({'params': params}, normalise(observations))
    return squashed_normal.from_outputs(outputs)

  def init(rng_key, params=None):
    if params is None:
      params = module.init(rng_key, jnp.zeros((1, spec.observation_size)))['params']
    return LearnerState(params, optimiser.init(params), jnp.int32(0))

  def act(params, rng_key, observations, temperature):
    del temperature
    distribution = policy(params, observations)
    noise = jax.random.normal(rng_key, distribution.mean.shape)
    return squashed_normal.from_noise(distribution, noise)

  def act_greedily(params, rng_key, observations):
    del rng_key
    return squashed_normal.mode(policy(params, observations))

  def loss(params, batch):
    distribution = policy(params, batch.observations[:, 0])
    action = batch.actions[:, 0]
    error = jnp.square(squashed_normal.mode(distribution) - action).mean()
    nats = -squashed_normal.log_prob(distribution, action).mean()
    return nats, {'loss/bc': nats, 'loss/squared_error': error}

  def update(state, rng_key, replay, demonstrations, axis_name=None):
    rng_key, devices = learning.share(rng_key, axis_name)
    batch = episodes.sample(demonstrations, rng_key, config.batch_size // devices, 0)
    gradient, metrics = jax.grad(loss, has_aux=True)(state.params, batch)
    if axis_name is not None:
      gradient, metrics = jax.lax.pmean((gradient, metrics), axis_name)
    metrics = {**metrics, 'loss/gradient_norm': optax.tree.norm(gradient)}
    step, opt_state = optimiser.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, step)
    return LearnerState(params, opt_state, state.updates + 1), replay, metrics

  return types.Agent(
    init=init,
    act=act,
    act_greedily=act_greedily,
    update=update,
    params=lambda state: state.params,
    init_replay=functools.partial(episodes.init, spec),
    add=episodes.add,
    reshard=episodes.reshard,
  )
