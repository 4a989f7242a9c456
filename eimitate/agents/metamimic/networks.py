"""Observations with a goal behind them, and without."""

import jax
import jax.numpy as jnp

from eimitate import types


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
