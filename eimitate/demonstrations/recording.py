"""Recording episodes of a policy with what it takes to replay them exactly."""

from collections.abc import Callable, Iterable, Iterator
import contextlib
import functools
from importlib import metadata
import itertools
import logging
import multiprocessing

from dm_control.rl import control
import numpy as np

from eimitate import environments
from eimitate import errors
from eimitate import types
from eimitate.demonstrations.demonstrators import DEMONSTRATORS
from eimitate.demonstrations.demonstrators import Demonstrator

_SIMULATION = ('mujoco', 'dm_control', 'numpy')
_ON_DEVICE = ('jax', 'brax', 'mujoco-mjx', 'playground')

# Of the episodes that a demonstrator begins, so many times as many as asked for may fail.
_MOST_ATTEMPTS = 10


def record(
  demonstrator: Demonstrator, environment, episodes: int, seed: int, spread: float = 0.0
) -> list[types.Demonstration]:
  """Episodes that succeeded, from the initial states of `seed`, `seed + 1`, ...

  Args:
    demonstrator: what acts.
    environment: a `suite.SuiteEnvironment`.
    episodes: how many.
    seed: of the first.
    spread: half the width of the uniform noise that is added to the initial positions and
      velocities. Where a task starts from nearly one state, a deterministic policy would record
      one episode many times over.

  Raises:
    InputError: if hardly any episode succeeds.
  """
  return successes(demonstrator, attempts(demonstrator, environment, seed, spread), episodes)[0]


def successes(
  demonstrator: Demonstrator, begun: Iterable[types.Demonstration | None], episodes: int
) -> tuple[list[types.Demonstration], int]:
  """The first so many that succeeded, and how many were begun for them.

  Raises:
    InputError: if hardly any episode succeeds.
  """
  kept, count, most = [], 0, _MOST_ATTEMPTS * episodes
  for count, episode in enumerate(itertools.islice(begun, most), 1):
    if episode and demonstrator.succeeded(episode):
      kept.append(episode)
    if len(kept) == episodes:
      return kept, count
  found = f'{len(kept)} successes in {count} episodes'
  raise errors.InputError(f'demonstrator: found {found}, expected {episodes}')


def attempts(
  demonstrator: Demonstrator, environment, seed: int, spread: float = 0.0
) -> Iterator[types.Demonstration | None]:
  """Episodes without end, from the initial states of `seed`, `seed + 1`, ...

  None where the physics diverged.
  """
  for number in itertools.count(seed):
    yield _attempt(demonstrator, environment, spread, number)


@contextlib.contextmanager
def attempts_in_processes(
  name: str, task: str, action_repeat: int, seed: int, spread: float, processes: int, most: int
) -> Iterator[Iterator[types.Demonstration | None]]:
  """The same episodes as `attempts`, in the same order, from several processes.

  Args:
    name: of a demonstrator.
    task, action_repeat: of the environment.
    seed, spread: see `record`.
    processes: how many; they are started anew, as a process that has used JAX cannot fork.
    most: successes that may be asked for.
  """
  start = functools.partial(_start, name, task, action_repeat, spread)
  with multiprocessing.get_context('spawn').Pool(processes, start) as pool:
    yield pool.imap(_record_seed, range(seed, seed + _MOST_ATTEMPTS * most))


# What a process of `attempts_in_processes` records with.
_record_here: Callable[[int], types.Demonstration | None]


def _start(name, task, action_repeat, spread):
  global _record_here
  environment = environments.make_environment(task, action_repeat)
  _record_here = functools.partial(_attempt, DEMONSTRATORS[name], environment, spread)


def _record_seed(seed):
  return _record_here(seed)


def versions(on_device: bool = False) -> dict[str, str]:
  """Of the packages that a replay depends on, as far as they are installed."""
  found = {}
  for name in _ON_DEVICE if on_device else _SIMULATION:
    with contextlib.suppress(metadata.PackageNotFoundError):
      found[name] = metadata.version(name)
  return found


def _attempt(demonstrator, environment, spread, seed):
  try:
    return _record_episode(demonstrator, environment, spread, seed)
  except control.PhysicsError as error:
    logging.warning('An episode is left out: %s', error)
    return None


def _record_episode(demonstrator, environment, spread, seed):
  environment.seed(seed)
  environment.reset()
  state, fields = environment.save()
  rng = np.random.default_rng(seed)
  if spread:
    state = environment.perturb(state, rng, spread)
  # A replay starts by restoring this state, so the recording does too.
  environment.restore(state, fields)
  observations, states = [environment.observe()], [state]
  act = demonstrator.begin(environment, rng)
  actions, rewards, discounts, last = [], [], [], False
  while not last:
    action = np.clip(np.asarray(act(observations[-1][None])[0], np.float32), -1, 1)
    timestep = environment.step(action)
    actions.append(action)
    rewards.append(timestep.reward)
    discounts.append(timestep.discount)
    observations.append(timestep.observation)
    states.append(environment.save()[0])
    last = timestep.last() or len(actions) == demonstrator.longest
  trajectory = types.Trajectory(
    np.stack(observations).astype(np.float32),
    np.stack(actions),
    np.array(rewards, np.float32),
    np.array(discounts, np.float32),
  )
  return types.Demonstration(trajectory, np.stack(states), fields)
