"""Proof that a dataset is what it says: its actions, replayed, give its states and rewards."""

from typing import NamedTuple

import numpy as np

from eimitate import environments
from eimitate import errors
from eimitate import types
from eimitate.demonstrations.dataset import Dataset


class Difference(NamedTuple):
  """Largest absolute differences over one episode; 0.0 on the versions it was recorded with."""

  state: float
  observation: float
  reward: float


def verify(dataset: Dataset) -> list[Difference]:
  """Replays every episode from its first stored state; one `Difference` each.

  Raises:
    InputError: if the task is unknown, its states do not belong to the task's model, or there are
      no states or no actions to replay.
  """
  metadata = dataset.metadata
  for name, known in (('states', dataset.has_states), ('actions', dataset.has_actions)):
    errors.check(known, f'demonstrations {name}', 'none', 'what a replay needs')
  program = environments.is_program(metadata.task)
  errors.check(not program, 'demonstrations task', metadata.task, 'one that is not on device')
  environment = environments.make_environment(metadata.task, metadata.action_repeat)
  return [_verify_episode(environment, episode) for episode in dataset.episodes]


def _verify_episode(environment, episode: types.Demonstration) -> Difference:
  trajectory = episode.trajectory
  observation = environment.restore(episode.states[0], episode.model_fields)
  state, seen, reward = 0.0, _largest(observation, trajectory.observations[0]), 0.0
  for t, action in enumerate(trajectory.actions):
    timestep = environment.step(action)
    state = max(state, _largest(environment.save()[0], episode.states[t + 1]))
    seen = max(seen, _largest(timestep.observation, trajectory.observations[t + 1]))
    reward = max(reward, _largest(np.float32(timestep.reward), trajectory.rewards[t]))
  return Difference(state, seen, reward)


def _largest(a, b) -> float:
  return float(np.max(np.abs(a - b)))
