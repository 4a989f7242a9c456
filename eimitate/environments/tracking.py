"""Following demonstrations in any environment that can be put into a recorded state.

An observation is the environment's own and, behind it, the goal: what the demonstration shows one
step later. A step has two rewards, and two discounts: the task's, and that of tracking.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import dm_env
from dm_env import specs
import numpy as np

from eimitate import types
from eimitate.rewards import tracking

# A step's rewards, in their order.
REWARDS = ('task', 'tracking')
TASK, TRACKING = 0, 1


class Demonstrated(NamedTuple):
  """A demonstration to follow.

  states, model_fields: as in `types.Demonstration`.
  shown: `[T + 1, O]`, or frames, as the environment observes them: the goals.
  parts: by name `[T + 1, X]`, what the reward compares beside the frames.
  """

  states: np.ndarray
  model_fields: Mapping[str, np.ndarray]
  shown: np.ndarray
  parts: Mapping[str, np.ndarray]


class Rules(NamedTuple):
  """How demonstrations are followed.

  parts, cutoff: see `rewards.tracking`.
  curriculum: an episode begins within so many first steps of a demonstration; 0: at its beginning.
  ends_when_lost: whether an episode is over once tracking is lost, else only its tracking is.
  """

  parts: Mapping[str, tracking.Part]
  cutoff: float
  curriculum: int = 0
  ends_when_lost: bool = True


def split(environment, observation: np.ndarray) -> dict[str, np.ndarray]:
  """The named parts `[..., X]` of features `[..., F]`."""
  return {name: observation[..., place] for name, place in environment.parts.items()}


class _Wrapper(dm_env.Environment):
  """What following and performing share: the layout of observations and rewards."""

  def __init__(self, environment, rewards: Sequence[int]):
    self._environment = environment
    self._rewards = rewards
    self.action_repeat = environment.action_repeat
    self._rng = np.random.default_rng(0)

  def seed(self, seed: int) -> None:
    """Makes the next episode a function of `seed` alone."""
    self._rng = np.random.default_rng(seed)
    self._environment.seed(seed)

  def observation_spec(self) -> specs.Array:
    """The environment's, twice along its last axis."""
    spec = self._environment.observation_spec()
    return specs.Array((*spec.shape[:-1], 2 * spec.shape[-1]), spec.dtype, 'observation_and_goal')

  def action_spec(self) -> specs.BoundedArray:
    """The environment's."""
    return self._environment.action_spec()

  def reward_spec(self) -> specs.Array:
    """`[R]`, or a number where there is one."""
    return specs.Array(self._several([0.0, 0.0]).shape, float, 'reward')

  def discount_spec(self) -> specs.Array:
    """As the rewards."""
    return specs.Array(self._several([0.0, 0.0]).shape, float, 'discount')

  def _several(self, values):
    chosen = np.array([values[i] for i in self._rewards])
    return chosen if len(chosen) > 1 else chosen[0]


class Follow(_Wrapper):
  """Episodes that follow a demonstration drawn anew for each.

  An episode ends with its demonstration, which is a truncation: discounts of 1. The last
  observation of it, which no goal follows, has the last goal. Losing track is a termination, of
  tracking: its discount is 0, and the task's is not.
  """

  def __init__(
    self,
    environment,
    demonstrations: Sequence[Demonstrated],
    rules: Rules,
    rewards: Sequence[int] = (TASK, TRACKING),
  ):
    """Wraps an environment with `restore`, `observe` and `parts`, as the suite's have."""
    super().__init__(environment, rewards)
    self._demonstrations, self._rules = demonstrations, rules

  def reset(self) -> dm_env.TimeStep:
    """Puts the simulator where a demonstration begins, or within its curriculum."""
    self._demonstration = self._demonstrations[self._rng.integers(len(self._demonstrations))]
    self._step = int(self._rng.integers(max(self._rules.curriculum, 1)))
    self._lost = False
    observation = _restore(self._environment, self._demonstration, self._step)
    return dm_env.restart(self._with_goal(observation))

  def step(self, action: np.ndarray) -> dm_env.TimeStep:
    """Acts, and compares with what the demonstration shows then."""
    timestep = self._environment.step(action)
    self._step += 1
    features = split(self._environment, self._environment.features())
    features |= image_part(timestep.observation)
    goal = compared(self._demonstration, self._step)
    parts, cutoff = self._rules.parts, self._rules.cutoff
    reward = tracking.reward(parts, features, goal)
    self._lost |= bool(tracking.lost(parts, cutoff, features, goal))
    over = self._lost and self._rules.ends_when_lost
    last = over or timestep.last() or self._step == len(self._demonstration.shown) - 1
    return dm_env.TimeStep(
      dm_env.StepType.LAST if last else dm_env.StepType.MID,
      self._several([timestep.reward, float(reward)]),
      self._several([timestep.discount, 0.0 if self._lost else timestep.discount]),
      self._with_goal(timestep.observation),
    )

  def _with_goal(self, observation):
    shown = self._demonstration.shown
    return np.concatenate([observation, shown[min(self._step + 1, len(shown) - 1)]], -1)


class Perform(_Wrapper):
  """The task's own episodes: zeros stand in the goal's place, and in the tracking reward's."""

  def __init__(self, environment):
    super().__init__(environment, (TASK, TRACKING))

  def reset(self) -> dm_env.TimeStep:
    """Begins an episode of the task."""
    return self._without_goal(self._environment.reset())

  def step(self, action: np.ndarray) -> dm_env.TimeStep:
    """Acts."""
    timestep = self._environment.step(action)
    return self._without_goal(timestep)._replace(
      reward=self._several([timestep.reward, 0.0]),
      discount=self._several([timestep.discount, 1.0]),
    )

  def _without_goal(self, timestep):
    observation = timestep.observation
    return timestep._replace(
      observation=np.concatenate([observation, np.zeros_like(observation)], -1)
    )


class Begin(dm_env.Environment):
  """The task's own episodes, begun within the first steps of a demonstration: a curriculum."""

  def __init__(self, environment, demonstrations: Sequence[Demonstrated], steps: int):
    """Wraps an environment with `restore` and `observe`; `steps` is more than 0."""
    self._environment = environment
    self._demonstrations, self._steps = demonstrations, steps
    self.action_repeat = environment.action_repeat
    self.longest_episode = environment.longest_episode
    self._rng = np.random.default_rng(0)

  def seed(self, seed: int) -> None:
    """Makes the next episode a function of `seed` alone."""
    self._rng = np.random.default_rng(seed)
    self._environment.seed(seed)

  def reset(self) -> dm_env.TimeStep:
    """Puts the simulator where a demonstration drawn anew is at one of these steps."""
    demonstration = self._demonstrations[self._rng.integers(len(self._demonstrations))]
    step = int(self._rng.integers(self._steps))
    return dm_env.restart(_restore(self._environment, demonstration, step))

  def step(self, action: np.ndarray) -> dm_env.TimeStep:
    """Acts."""
    return self._environment.step(action)

  def observation_spec(self) -> specs.Array:
    """The environment's."""
    return self._environment.observation_spec()

  def action_spec(self) -> specs.BoundedArray:
    """The environment's."""
    return self._environment.action_spec()


def image_part(observation: np.ndarray) -> dict[str, np.ndarray]:
  """Frames `[..., H, W, C]` uint8 as the part `image` `[..., H x W x C]` in [0, 1]; else none."""
  if observation.dtype != np.uint8:
    return {}
  flat = observation.reshape(*observation.shape[:-3], -1)
  return {'image': flat.astype(np.float32) / 255}


def compared(demonstration: Demonstrated, step: int | slice = slice(None)) -> dict[str, np.ndarray]:
  """All that the reward compares with a demonstration's `step`, or with each of them.

  Frames become numbers only here: those of 500 demonstrations of 128 x 128 would take 30 GB.
  """
  rows = {name: part[step] for name, part in demonstration.parts.items()}
  return rows | image_part(demonstration.shown[step])


def demonstrated(environment, demonstration: types.Demonstration) -> Demonstrated:
  """A demonstration as `environment` shows it.

  Args:
    environment: which knows the features' parts.
    demonstration: with features observed, or frames drawn.
  """
  shown, features = demonstration.trajectory.observations, demonstration.features
  parts = split(environment, shown if features is None else features)
  return Demonstrated(demonstration.states, demonstration.model_fields, shown, parts)


def _restore(environment, demonstration, step):
  environment.restore(demonstration.states[step], demonstration.model_fields)
  return environment.observe()
