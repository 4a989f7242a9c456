"""Proof that a dataset is what it says: its actions, replayed, give the rest of it."""

from collections.abc import Iterable, Iterator
import contextlib
from typing import NamedTuple

from dm_control.rl import control
import numpy as np

from eimitate import environments
from eimitate import errors
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.demonstrations import importing
from eimitate.demonstrations import recording
from eimitate.demonstrations.dataset import Dataset


class Difference(NamedTuple):
  """Largest absolute differences over one episode; 0.0 on the versions it was recorded with."""

  state: float
  observation: float
  reward: float
  discount: float


def worst(differences: Iterable[Difference]) -> Difference:
  """The largest of each kind."""
  return Difference(*map(max, zip(*differences)))


def other_versions(metadata: dataset_lib.Metadata) -> list[str]:
  """Words on each package that is of another version here than where it was recorded."""
  recorded = metadata.versions
  return [
    f'recorded with {name} {recorded[name]!a}, here {here!r}'
    for name, here in recording.versions().items()
    if recorded.get(name, here) != here
  ]


def verify(dataset: Dataset) -> list[Difference]:
  """Replays every episode from its first stored state; one `Difference` each.

  Raises:
    InputError: if the task is unknown, the dataset's sizes, states or times are not the task's, an
      episode cannot be simulated or goes on after the task's end, or there are no states or no
      actions to replay.
  """
  metadata = dataset.metadata
  for name, known in (('states', dataset.has_states), ('actions', dataset.has_actions)):
    errors.check(known, f'demonstrations {name}', 'none', 'what a replay needs')
  program = environments.is_program(metadata.task)
  errors.check(not program, 'demonstrations task', metadata.task, 'one that is not on device')
  repeat, most = metadata.action_repeat, importing.MOST_REPEAT
  errors.check(repeat <= most, 'demonstrations action repeat', repeat, f'at most {most}')
  environment = environments.make_environment(metadata.task, repeat)
  spec = environments.environment_spec(environment)
  dataset_lib.check_matches(dataset, metadata.task, repeat, spec)
  found, wanted = metadata.control_timestep, environment.control_timestep
  same = (1 - 1e-6) * wanted <= found <= (1 + 1e-6) * wanted
  errors.check(same, 'demonstrations control timestep', f'{found} s', f"the task's {wanted} s")
  return [_verify_episode(environment, i, x) for i, x in enumerate(dataset.episodes)]


def _verify_episode(environment, number: int, episode: types.Demonstration) -> Difference:
  trajectory = episode.trajectory
  steps = len(trajectory.actions)
  with _simulating(number, 0):
    environment.restore(episode.states[0], episode.model_fields)
    observation = environment.observe()
  # MuJoCo starts from its own state, without an error, where it finds the stored one bad.
  state = _largest(environment.save()[0], episode.states[0])
  seen, reward, discount = _largest(observation, trajectory.observations[0]), 0.0, 0.0
  for t, action in enumerate(trajectory.actions):
    with _simulating(number, t):
      timestep = environment.step(action)
    state = max(state, _largest(environment.save()[0], episode.states[t + 1]))
    seen = max(seen, _largest(timestep.observation, trajectory.observations[t + 1]))
    reward = max(reward, _largest(np.float32(timestep.reward), trajectory.rewards[t]))
    discount = max(discount, _largest(np.float32(timestep.discount), trajectory.discounts[t]))
    # The next step would begin another episode.
    over = timestep.last() and t + 1 < steps
    errors.check(not over, f'episode {number}', f'{steps} steps', f"the task's at most {t + 1}")
  return Difference(state, seen, reward, discount)


@contextlib.contextmanager
def _simulating(number: int, step: int) -> Iterator[None]:
  """What the simulator cannot do with an episode's state or model is the file's fault."""
  import mujoco  # Not before it is needed: it decides on import whether it can draw.

  try:
    yield
  except (control.PhysicsError, mujoco.FatalError) as error:
    raise errors.InputError(
      f'episode {number} step {step}: found {error}, expected what can be simulated'
    ) from error


def _largest(a, b) -> float:
  """Largest absolute difference; infinite where something is not a number."""
  difference = np.abs(a - b)
  return float(np.max(np.where(np.isnan(difference), np.inf, difference)))
