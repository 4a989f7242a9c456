"""Host actors: whole episodes from a vector of dm_env environments, acted on in one batch."""

import collections
from collections.abc import Callable, Mapping, Sequence
import itertools
import logging
from typing import NamedTuple

import chex
import dm_env
import jax
import numpy as np

from eimitate import types


class Collected(NamedTuple):
  """Episodes of several environments.

  trajectories: one per environment; None where it failed before a step was done.
  failures: by what raised, how many episodes ended because their environment failed.
  """

  trajectories: list[types.Trajectory | None]
  failures: Mapping[str, int]


# `(params, rng_key, temperature, seeds) -> Collected`, one episode for each seed; wherever the
# actors are, the same arguments give the same episodes.
Collect = Callable[[types.Params, chex.PRNGKey, np.float32, Sequence[int]], Collected]


def collect_episodes(
  act: Callable[[np.ndarray], np.ndarray],
  environments: Sequence[dm_env.Environment],
  seeds: Sequence[int],
  stack: int = 1,
) -> Collected:
  """One episode from every environment.

  The batch keeps its size until the last episode ends, so that `act` compiles once; an environment
  that is done waits. Where an environment fails (it raises, or a number is not finite, as when a
  simulation diverges) its episode alone ends, before the step that failed.

  Args:
    act: maps observations `[B, ...]` to actions `[B, A]`.
    environments: `B` of them, in the library's conventions (`environments.Canonical`).
    seeds: one per environment; where it can be seeded, an episode depends on nothing before it.
    stack: observations, the last ones, that are acted on at once, oldest first along the last axis;
      an episode's first one stands for those before it. They are recorded one by one.

  Returns:
    What was recorded: None of an environment that failed before a step was done.
  """
  episodes = [_Episode(*pair) for pair in zip(environments, seeds, strict=True)]
  while any(episode.running for episode in episodes):
    # An environment that could not begin an episode is acted for like another.
    begun = next(episode.observations for episode in episodes if episode.observations)
    observations = [_stacked(episode.observations or begun, stack) for episode in episodes]
    for episode, action in zip(episodes, act(np.stack(observations))):
      if episode.running:
        episode.step(action)
  return Collected(
    [episode.trajectory() for episode in episodes],
    collections.Counter(type(x.failure).__name__ for x in episodes if x.failure),
  )


def on_host(
  act: Callable,
  environments: Sequence[dm_env.Environment],
  stack: int = 1,
  number: int = 0,
  workers: int = 1,
) -> Collect:
  """Actors in this process.

  Args:
    act: an agent's, compiled, as in `types.Agent`.
    environments, stack: see `collect_episodes`.
    number, workers: which of several processes that act with the same keys this is; each draws
      other random numbers.
  """

  def collect(params, rng_key, temperature, seeds):
    calls = itertools.count(number, workers)

    def act_now(observations):
      key = jax.random.fold_in(rng_key, next(calls))
      return np.asarray(act(params, key, observations, temperature))

    return collect_episodes(act_now, environments, seeds, stack)

  return collect


class _Episode:
  """One episode as it grows."""

  def __init__(self, environment, seed):
    self._environment = environment
    self._steps = []
    self.observations = []
    self.running = True
    self.failure: Exception | None = None
    self._guarded(lambda: self._begin(seed))

  def _begin(self, seed):
    self._environment.seed(seed)
    return self._environment.reset()

  def step(self, action):
    """Takes one action."""
    timestep = self._guarded(lambda: self._environment.step(action))
    if timestep is not None:
      self._steps.append((action, timestep.reward, timestep.discount))

  def trajectory(self):
    """What was recorded."""
    if not self._steps:
      return None
    actions, rewards, discounts = zip(*self._steps)
    return types.Trajectory(
      observations=np.stack(self.observations),
      actions=np.stack(actions).astype(np.float32),
      rewards=np.array(rewards, np.float32),
      discounts=np.array(discounts, np.float32),
    )

  def _guarded(self, advance):
    try:
      timestep = advance()
      numbers = (timestep.observation, 0.0 if timestep.reward is None else timestep.reward)
      if not all(np.isfinite(x).all() for x in numbers):
        raise FloatingPointError('an observation or reward is not finite')
    except Exception as error:  # Environments are other people's code.
      logging.warning('An episode ends early: %s: %s', type(error).__name__, error)
      self.running, self.failure = False, error
      return None
    self.observations.append(timestep.observation)
    self.running = not timestep.last()
    return timestep


def _stacked(observations, stack):
  seen = observations[-stack:]
  return np.concatenate([observations[0]] * (stack - len(seen)) + seen, -1)
