"""Recording episodes of a policy with what it takes to replay them exactly."""

from collections.abc import Iterator
from importlib import metadata
import itertools

import numpy as np

from eimitate import errors
from eimitate import types
from eimitate.demonstrations.demonstrators import Demonstrator

_SIMULATION = ('mujoco', 'dm_control', 'numpy')


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
  attempts = _attempts(demonstrator, environment, seed, spread)
  tried = itertools.islice(attempts, _MOST_ATTEMPTS * episodes)
  kept = list(itertools.islice(filter(demonstrator.succeeded, tried), episodes))
  found = f'{len(kept)} successes in {_MOST_ATTEMPTS * episodes} episodes'
  errors.check(len(kept) == episodes, 'demonstrator', found, episodes)
  return kept


def _attempts(demonstrator, environment, seed, spread) -> Iterator[types.Demonstration]:
  for number in itertools.count(seed):
    yield _record_episode(demonstrator, environment, number, spread)


def versions() -> dict[str, str]:
  """Of the packages that a replay depends on."""
  return {name: metadata.version(name) for name in _SIMULATION}


def _record_episode(demonstrator, environment, seed, spread):
  environment.seed(seed)
  environment.reset()
  state, fields = environment.save()
  rng = np.random.default_rng(seed)
  if spread:
    state = environment.perturb(state, rng, spread)
  # A replay starts by restoring this state, so the recording does too.
  observations, states = [environment.restore(state, fields)], [state]
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
