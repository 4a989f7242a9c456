"""The networks of the imitation learner: D4PG's, of an observation and a goal."""

import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.agents import d4pg
from eimitate.networks import normaliser


def make_imitation_networks(config: d4pg.Config, spec: types.EnvironmentSpec) -> d4pg.Networks:
  """Networks that see what is left to do: the observation, and the goal relative to it.

  One step of a demonstration is small beside the spread of its observations. Each part is in units
  of its own: the observations' spread, and that of a step. Frames of both are stacked as they are
  (Figure 3).

  Args:
    config: of the imitation learner.
    spec: of observations with goals, and their statistics.
  """
  networks = d4pg.make_networks(config, spec)
  if spec.frame:
    return networks
  normalise = normaliser.make_normaliser(spec)
  step = jnp.array(spec.goal_scale)
  left = jnp.vectorize(lambda seen, goal: (goal - seen) / step, signature='(o),(o)->(o)')

  def inputs(observation):
    seen, goal = jnp.split(observation, 2, -1)
    return jnp.concatenate([jnp.split(normalise(observation), 2, -1)[0], left(seen, goal)], -1)

  return networks._replace(
    policy=lambda params, o: networks.policy(params, inputs(o)),
    critic=lambda params, o, action: networks.critic(params, inputs(o), action),
  )


def has_goal(spec: types.EnvironmentSpec, observation: jax.Array) -> jax.Array:
  """Whether an observation `[B, ...]` comes with a goal, `[B]`."""
  goal = observation[..., -spec.goal :]
  return jnp.any(goal.reshape(len(goal), -1) != 0, -1)


def without_goal(spec: types.EnvironmentSpec, observation: jax.Array) -> jax.Array:
  """The observation alone, `[..., O]`."""
  return observation[..., : -spec.goal]


def task_spec(spec: types.EnvironmentSpec) -> types.EnvironmentSpec:
  """What the task learner knows of the environment: no goals, one reward."""
  if spec.frame:
    height, width, channels = spec.frame
    return spec._replace(frame=(height, width, channels - spec.goal), goal=0, rewards=1)
  size = spec.observation_size - spec.goal
  mean, scale = spec.observation_mean[:size], spec.observation_scale[:size]
  return types.EnvironmentSpec(size, spec.action_size, mean, scale)
