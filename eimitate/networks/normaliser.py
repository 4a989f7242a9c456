"""Observations in units of their typical spread."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from eimitate import errors
from eimitate import types


def make_normaliser(spec: types.EnvironmentSpec) -> Callable[[jax.Array], jax.Array]:
  """Observations `[..., O]` minus the spec's mean, over its scale.

  Raises:
    InputError: if the spec does not have both.
  """
  known = len(spec.observation_mean) == len(spec.observation_scale) == spec.observation_size
  expected = f'{spec.observation_size} numbers each, to normalise observations'
  errors.check(known, 'observation_mean, observation_scale', 'other sizes', expected)
  mean, scale = jnp.array(spec.observation_mean), jnp.array(spec.observation_scale)
  return jnp.vectorize(lambda observation: (observation - mean) / scale, signature='(o)->(o)')
