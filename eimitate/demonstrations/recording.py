"""Recording episodes of a policy with what it takes to replay them exactly."""

from collections.abc import Callable, Sequence
from importlib import metadata

import numpy as np

from eimitate import types

_SIMULATION = ('mujoco', 'dm_control', 'numpy')


def record(
  act: Callable[[np.ndarray], np.ndarray],
  environment,
  seeds: Sequence[int],
  spread: float = 0.0,
) -> list[types.Demonstration]:
  """One episode per seed.

  Args:
    act: maps observations `[1, O]` to actions `[1, A]`.
    environment: a `suite.SuiteEnvironment`.
    seeds: of the initial states.
    spread: half the width of the uniform noise that is added to the initial positions and
      velocities. Where a task starts from nearly one state, a deterministic policy would record
      one episode many times over.
  """
  return [_record_episode(act, environment, seed, spread) for seed in seeds]


def versions() -> dict[str, str]:
  """Of the packages that a replay depends on."""
  return {name: metadata.version(name) for name in _SIMULATION}


def _record_episode(act, environment, seed, spread):
  environment.seed(seed)
  environment.reset()
  state, fields = environment.save()
  if spread:
    state = environment.perturb(state, np.random.default_rng(seed), spread)
  # A replay starts by restoring this state, so the recording does too.
  observations, states = [environment.restore(state, fields)], [state]
  actions, rewards, discounts, last = [], [], [], False
  while not last:
    action = np.clip(np.asarray(act(observations[-1][None])[0], np.float32), -1, 1)
    timestep = environment.step(action)
    actions.append(action)
    rewards.append(timestep.reward)
    discounts.append(timestep.discount)
    observations.append(timestep.observation)
    states.append(environment.save()[0])
    last = timestep.last()
  trajectory = types.Trajectory(
    np.stack(observations).astype(np.float32),
    np.stack(actions),
    np.array(rewards, np.float32),
    np.array(discounts, np.float32),
  )
  return types.Demonstration(trajectory, np.stack(states), fields)
