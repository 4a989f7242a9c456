import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate.rewards import tracking

_PARTS = {'image': tracking.Part(15, 2.0), 'body': tracking.Part(2, 0.5)}


def _observation(image, body):
  return {'image': np.array(image), 'body': np.array(body)}


_GOAL = _observation([1.0, 2.0], [0.5])


def test_reward_by_hand():
  # ||image||^2 = 1 + 9 over 2; ||body||^2 = 0.25 over 0.5.
  observation = _observation([2.0, -1.0], [0.0])
  expected = (15 * math.exp(-5) + 2 * math.exp(-0.5)) / 17
  assert tracking.reward(_PARTS, observation, _GOAL) == pytest.approx(expected)
  assert tracking.reward(_PARTS, _GOAL, _GOAL) == 1


def test_a_part_without_weight_is_not_compared():
  parts = _PARTS | {'image': tracking.Part(0, 2.0)}
  observation = _observation([9.0, 9.0], [1.0])
  assert tracking.reward(parts, observation, _GOAL) == pytest.approx(math.exp(-0.5))


def test_lost_by_cutoff():
  # With the image 17 squared off, the body's 2 of 17 remain; with the body off, the image's 15.
  assert tracking.lost(_PARTS, 0.5, _observation([18.0, 2.0], [0.5]), _GOAL)
  assert not tracking.lost(_PARTS, 0.1, _observation([18.0, 2.0], [0.5]), _GOAL)
  assert not tracking.lost(_PARTS, 0.5, _observation([1.0, 2.0], [99.0]), _GOAL)


def test_lost_by_distance():
  parts = {'body': tracking.Part(1.0, 1e9, farthest=0.01), 'unrewarded': tracking.Part(0, 1, 2.0)}
  goal = {'body': np.zeros(2), 'unrewarded': np.zeros(1)}
  at = lambda *body, other=0.0: {'body': np.array(body), 'unrewarded': np.array([other])}
  assert not tracking.lost(parts, 0.5, at(0.006, 0.0079), goal)
  assert tracking.lost(parts, 0.5, at(0.006, 0.0081), goal)
  assert tracking.lost(parts, 0.5, at(0.0, 0.0, other=-2.1), goal)


def test_the_same_compiled_and_in_batches():
  rng = np.random.default_rng(0)
  shown = lambda: {'image': rng.normal(size=(7, 3)), 'body': rng.normal(size=(7, 2))}
  observation, goal = shown(), shown()
  reward = tracking.reward(_PARTS, observation, goal)
  row = lambda x, i: {name: part[i] for name, part in x.items()}
  alone = [tracking.reward(_PARTS, row(observation, i), row(goal, i)) for i in range(7)]
  np.testing.assert_allclose(reward, alone, rtol=1e-12)
  on_device = jax.jit(lambda o, g: tracking.reward(_PARTS, o, g))(
    jax.tree.map(jnp.asarray, observation), jax.tree.map(jnp.asarray, goal)
  )
  np.testing.assert_allclose(on_device, reward, rtol=1e-4)


def test_scales_are_shares_of_the_variance():
  first = {'position': np.array([[0.0, 0.0], [2.0, 4.0]]), 'still': np.ones((2, 1))}
  second = {'position': np.array([[0.0, 0.0], [2.0, 4.0]]), 'still': np.ones((2, 1))}
  # Variances of 1 and 4.
  assert tracking.scales(0.1, [first, second]) == {'position': pytest.approx(0.5), 'still': 1.0}
