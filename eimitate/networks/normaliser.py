"""Observations in units of their typical spread, and goals relative to them."""

from collections.abc import Callable
import math

import jax
import jax.numpy as jnp

from eimitate import errors
from eimitate import types

# What a tracking agent sees of a body that something has hit must not drown everything else.
_LARGEST_WITH_GOAL = 5.0


def make_normaliser(spec: types.EnvironmentSpec) -> Callable[[jax.Array], jax.Array]:
  """Observations `[..., O]` minus the spec's mean, over its scale.

  Of stacked frames `[..., H, W, stack x C]` uint8 every one is taken from the background: what does
  not move is then zero, and what does is not small beside it.

  Where goals are shown agents see what is left to do: the observation, and the goal relative to it,
  as one step of a demonstration is small beside the spread of its observations. Each is in units of
  its own, the observations' spread and that of a step, and at most 5 of them.

  Raises:
    InputError: if the spec does not have both.
  """
  if spec.frame:
    return _frames_normaliser(spec)
  known = len(spec.observation_mean) == len(spec.observation_scale) == spec.observation_size
  expected = f'{spec.observation_size} numbers each, to normalise observations'
  errors.check(known, 'observation_mean, observation_scale', 'other sizes', expected)
  mean, scale = jnp.array(spec.observation_mean), jnp.array(spec.observation_scale)
  if not spec.goal:
    return jnp.vectorize(lambda observation: (observation - mean) / scale, signature='(o)->(o)')
  step = jnp.array(spec.goal_scale)

  def with_goal(observation):
    seen, goal = jnp.split(observation, 2)
    normal = (seen - mean[: len(seen)]) / scale[: len(seen)]
    both = jnp.concatenate([normal, (goal - seen) / step])
    return jnp.clip(both, -_LARGEST_WITH_GOAL, _LARGEST_WITH_GOAL)

  return jnp.vectorize(with_goal, signature='(o)->(o)')


def _frames_normaliser(spec):
  numbers = len(spec.observation_mean), len(spec.observation_scale)
  wanted = (math.prod(spec.frame), 1)
  expected = f'{wanted[0]} and {wanted[1]} numbers, to normalise frames'
  errors.check(numbers == wanted, 'observation_mean, observation_scale', numbers, expected)
  mean = jnp.tile(jnp.array(spec.observation_mean).reshape(spec.frame), spec.stack)

  def normalise(frames):
    centred = frames / 255 - mean.reshape((1,) * (frames.ndim - mean.ndim) + mean.shape)
    return centred / spec.observation_scale[0]

  return normalise
