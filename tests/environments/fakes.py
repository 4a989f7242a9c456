"""A tiny environment of one's own."""

import itertools
import os
import signal

import dm_env
from dm_env import specs
import numpy as np


class PointMass(dm_env.Environment):
  """A point on a line, pushed by actions in [0, 4]; ends after 20 steps, or terminates past 5."""

  def __init__(self):
    self._random = np.random.RandomState(0)

  def seed(self, seed):
    self._random.seed(seed)

  def reset(self):
    self._position, self._steps = self._random.uniform(-1, 1), 0
    return dm_env.restart(self._observation())

  def step(self, action):
    assert 0 <= action[0] <= 4
    self._position += 0.1 * (action[0] - 2)
    self._steps += 1
    reward = float(np.exp(-(self._position**2)))
    if abs(self._position) > 5:
      return dm_env.termination(reward, self._observation())
    if self._steps == 20:
      return dm_env.truncation(reward, self._observation())
    return dm_env.transition(reward, self._observation())

  def observation_spec(self):
    return {'position': specs.Array((1,), float), 'steps': specs.Array((), float)}

  def action_spec(self):
    return specs.BoundedArray((1,), float, 0.0, 4.0)

  def _observation(self):
    return {'position': np.array([self._position]), 'steps': np.float64(self._steps)}


class Deadly(PointMass):
  """Takes its whole process with it, in the middle of the episode of seed 13."""

  def seed(self, seed):
    super().seed(seed)
    self._seed = seed

  def step(self, action):
    if self._seed == 13 and self._steps == 5:
      os.kill(os.getpid(), signal.SIGKILL)
    return super().step(action)


class Failing(PointMass):
  """Raises at its eleventh step."""

  def step(self, action):
    if self._steps == 10:
      raise RuntimeError('a joint broke')
    return super().step(action)


def make_failing():
  """What `--config.environment` names."""
  return Failing()


def make():
  """What `--config.environment` names."""
  return PointMass()


class NeverBegun(PointMass):
  """It cannot begin an episode."""

  def reset(self):
    raise RuntimeError('no beginning')


_made = itertools.count()


def make_every_other():
  """What `--config.environment` names: of two actors one never begins an episode."""
  return PointMass() if next(_made) % 2 else NeverBegun()


NOT_CALLABLE = 3
