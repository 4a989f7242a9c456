"""Host actors: whole episodes from a vector of dm_env environments, acted on in one batch."""

from collections.abc import Callable, Sequence

import dm_env
import numpy as np

from eimitate import types


def collect_episodes(
  act: Callable[[np.ndarray], np.ndarray],
  environments: Sequence[dm_env.Environment],
  seeds: Sequence[int],
) -> list[types.Trajectory]:
  """One episode from every environment.

  The batch keeps its size until the last episode ends, so that `act` compiles once; an environment
  that is done waits.

  Args:
    act: maps observations `[B, O]` to actions `[B, A]`.
    environments: `B` of them, in the library's conventions (`environments.Canonical`).
    seeds: one per environment; where it can be seeded, an episode depends on nothing before it.

  Returns:
    `B` trajectories.
  """
  timesteps = []
  for environment, seed in zip(environments, seeds, strict=True):
    environment.seed(seed)
    timesteps.append(environment.reset())
  steps = [[] for _ in environments]
  observations = [[timestep.observation] for timestep in timesteps]
  running = [not timestep.last() for timestep in timesteps]
  while any(running):
    actions = act(np.stack([timestep.observation for timestep in timesteps]))
    for i, environment in enumerate(environments):
      if not running[i]:
        continue
      timesteps[i] = environment.step(actions[i])
      steps[i].append((actions[i], timesteps[i].reward, timesteps[i].discount))
      observations[i].append(timesteps[i].observation)
      running[i] = not timesteps[i].last()
  return [_trajectory(o, s) for o, s in zip(observations, steps)]


def _trajectory(observations, steps) -> types.Trajectory:
  actions, rewards, discounts = zip(*steps)
  return types.Trajectory(
    observations=np.stack(observations).astype(np.float32),
    actions=np.stack(actions).astype(np.float32),
    rewards=np.array(rewards, np.float32),
    discounts=np.array(discounts, np.float32),
  )
