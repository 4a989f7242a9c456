import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import types
from eimitate.networks import normaliser


def test_vectors_by_hand():
  spec = types.EnvironmentSpec(2, 1, (1.0, -1.0), (2.0, 0.5))
  normalise = normaliser.make_normaliser(spec)
  observations = jnp.array([[[3.0, 0.0]], [[1.0, -2.0]]])
  np.testing.assert_allclose(normalise(observations), [[[1, 2]], [[0, -2]]])


def test_frames_by_hand():
  """Two frames of one pixel of two colours, oldest first: each is taken from the background."""
  spec = types.EnvironmentSpec(0, 1, (0.2, 0.4), (0.1,), frame=(1, 1, 2), stack=2)
  normalise = normaliser.make_normaliser(spec)
  expected = [[[[0, 0, -2, 6]]], [[[0, 6, 8, -4]]]]
  frames = np.array([[[[51, 102, 0, 255]]], [[[51, 255, 255, 0]]]], np.uint8)
  np.testing.assert_allclose(normalise(frames), expected, atol=1e-5)


def test_goals_are_relative_in_units_of_a_step():
  spec = types.EnvironmentSpec(6, 2, (1.0, 2.0, 3.0) * 2, (2.0,) * 6, goal=3, goal_scale=(0.1,) * 3)
  normalise = normaliser.make_normaliser(spec)
  observations = [[3.0, 2.0, -1.0, 3.05, 2.0, -1.3], [1.0, 52.0, 3.0, 1.0, 51.0, 4.0]]
  expected = [[1.0, 0.0, -2.0, 0.5, 0.0, -3.0], [0.0, 5.0, 0.0, 0.0, -5.0, 5.0]]
  np.testing.assert_allclose(normalise(jnp.array(observations)), expected, atol=1e-5)


@pytest.mark.parametrize(
  'spec',
  [
    types.EnvironmentSpec(2, 1),
    types.EnvironmentSpec(0, 1, frame=(1, 1, 2), stack=2),
    types.EnvironmentSpec(0, 1, (0.2, 0.4), (0.1, 0.1), frame=(1, 1, 2), stack=2),
  ],
)
def test_a_spec_without_statistics_is_refused(spec):
  with pytest.raises(
    ValueError, match='observation_mean, observation_scale: found .* to normalise'
  ):
    normaliser.make_normaliser(spec)
