"""D4PG's networks as pure functions."""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.agents.d4pg import config as config_lib
from eimitate.networks import mlp
from eimitate.networks import normaliser
from eimitate.networks import residual


class Networks(NamedTuple):
  """Pure functions of `params`, a dictionary with `policy` and `critic`; batch dimensions lead.

  init: `(rng_key) -> params`.
  policy: `(params, observation) -> action [..., A]` in [-1, 1]; observations are `[..., O]`, or
    frames `[..., height, width, stack x channels]`.
  critic: `(params, observation, action) -> logits [..., atoms]` of the return's distribution.
  support: `[atoms]` the returns they stand for.
  """

  init: Callable[[chex.PRNGKey], types.Params]
  policy: Callable[[types.Params, jax.Array], jax.Array]
  critic: Callable[[types.Params, jax.Array, jax.Array], jax.Array]
  support: jax.Array


def make_networks(config: config_lib.Config, spec: types.EnvironmentSpec) -> Networks:
  """Builds the networks for an environment, from state or from frames.

  Where goals are shown they see them relative to the observation, see `normaliser`. Frames of both
  are stacked as they are (MetaMimic, Figure 3).
  """
  policy = _network(config, spec, config.policy, spec.action_size)
  critic = _network(config, spec, config.critic, config.num_atoms)
  # The tower takes frames alone; what it makes of them is joined with the action behind it.
  join = lambda o, a: (o, a) if spec.frame else (jnp.concatenate([o, a], -1),)
  relative = spec.goal and not spec.frame
  see = normaliser.make_normaliser(spec) if relative else lambda observation: observation

  def init(rng_key):
    policy_key, critic_key = jax.random.split(rng_key)
    observation, action = jnp.zeros((1, *spec.observed)), jnp.zeros((1, spec.action_size))
    return {
      'policy': policy.init(policy_key, observation)['params'],
      'critic': critic.init(critic_key, *join(observation, action))['params'],
    }

  return Networks(
    init=init,
    policy=lambda params, o: jnp.tanh(policy.apply({'params': params['policy']}, see(o))),
    critic=lambda params, o, a: critic.apply({'params': params['critic']}, *join(see(o), a)),
    support=jnp.linspace(config.lowest_value, config.highest_value, config.num_atoms),
  )


def _network(config, spec, hidden, output):
  if not spec.frame:
    return mlp.MLP(hidden, output, 'elu', normalise_first=True)
  tower = residual.Tower(**dataclasses.asdict(config.tower))
  normalise = config.tower.normalisation != 'none'
  head = mlp.MLP(hidden, output, config.tower.activation, normalise=normalise)
  return residual.WithFrames(tower, head)
