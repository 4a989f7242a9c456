"""D4PG's networks as pure functions."""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.agents.d4pg import config as config_lib
from eimitate.networks import mlp


class Networks(NamedTuple):
  """Pure functions of `params`, a dictionary with `policy` and `critic`; batch dimensions lead.

  init: `(rng_key) -> params`.
  policy: `(params, observation [..., O]) -> action [..., A]` in [-1, 1].
  critic: `(params, observation, action) -> logits [..., atoms]` of the return's distribution.
  support: `[atoms]` the returns they stand for.
  """

  init: Callable[[chex.PRNGKey], types.Params]
  policy: Callable[[types.Params, jax.Array], jax.Array]
  critic: Callable[[types.Params, jax.Array, jax.Array], jax.Array]
  support: jax.Array


def make_networks(config: config_lib.Config, spec: types.EnvironmentSpec) -> Networks:
  """Builds the networks for an environment."""
  policy = mlp.MLP(config.policy, spec.action_size, 'elu', normalise_first=True)
  critic = mlp.MLP(config.critic, config.num_atoms, 'elu', normalise_first=True)

  def init(rng_key):
    policy_key, critic_key = jax.random.split(rng_key)
    inputs = jnp.zeros((1, spec.observation_size + spec.action_size))
    return {
      'policy': policy.init(policy_key, inputs[:, : spec.observation_size])['params'],
      'critic': critic.init(critic_key, inputs)['params'],
    }

  def criticise(params, observation, action):
    inputs = jnp.concatenate([observation, action], -1)
    return critic.apply({'params': params['critic']}, inputs)

  return Networks(
    init=init,
    policy=lambda params, o: jnp.tanh(policy.apply({'params': params['policy']}, o)),
    critic=criticise,
    support=jnp.linspace(config.lowest_value, config.highest_value, config.num_atoms),
  )
