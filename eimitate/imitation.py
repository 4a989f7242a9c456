"""One-shot imitation: demonstrations never seen before, followed once, beside simple baselines."""

from collections.abc import Callable, Sequence
import os
from typing import Any

import jax
import numpy as np

from eimitate import acting
from eimitate import environments
from eimitate import errors
from eimitate import evaluation
from eimitate import tracking
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.rewards import tracking as rewards

# Standard deviation of the noise on the actions of open-loop replay: 5% of their range.
REPLAY_NOISE = 0.1


def evaluate(loaded: evaluation.Loaded, path: str | os.PathLike) -> dict[str, Any]:
  """Imitates every demonstration of a dataset once, from its beginning to its end.

  Args:
    loaded: an agent that follows demonstrations.
    path: of the dataset. Of the one that the agent learnt from, those behind the ones that it saw.

  Returns:
    `tracking.fractions` of the agent, of each baseline under `baselines`, and each demonstration's
    own numbers under `imitations`.

  Raises:
    InputError: if the agent follows no demonstrations, or not these.
  """
  description = loaded.description
  follows = bool(description['tracking'])
  expected = 'one that follows demonstrations'
  errors.check(follows, 'checkpoint', f'a {description["agent"]} that follows none', expected)
  config, task = description['config'], description['task']
  make = lambda: environments.make_environment(
    task, description['action_repeat'], '', config['frame_size']
  )
  first, dataset = make(), dataset_lib.load(path)
  if dataset.checksum == description['demonstrations']:
    dataset = dataset.after(config['num_demonstrations'])
  errors.check(bool(dataset.episodes), '--demonstrations', f'{path} all seen', 'unseen ones')
  spec = environments.environment_spec(first)
  repeat = description['action_repeat']
  dataset_lib.check_matches(dataset, task, repeat, spec, needs_actions=False)
  tracking.check(dataset, first, shortest=1, curriculum=0)
  if config['frame_size']:
    from eimitate.demonstrations import frames

    dataset = frames.with_frames(dataset, config['frame_size'])
  parts = {name: rewards.Part(*values) for name, values in description['tracking'].items()}
  evaluators = tracking.make_evaluators(make, parts, config['tracking']['cutoff'], dataset.episodes)

  def measure(act):
    seeds = range(len(evaluators))
    trajectories = acting.collect_episodes(act, evaluators, seeds).trajectories
    return [tracking.imitation(*pair) for pair in zip(trajectories, dataset.episodes)]

  key = jax.random.key(0)
  results = measure(lambda seen: np.asarray(loaded.policy(loaded.params, key, seen)))
  others = baselines(dataset.episodes, first.action_spec().shape[0])
  return {
    'task': task,
    'agent': description['agent'],
    'agent_steps': loaded.counters['agent_steps'],
    'updates': loaded.counters['updates'],
    'demonstrations': len(results),
    **tracking.fractions(results),
    'baselines': {name: tracking.fractions(measure(act)) for name, act in others.items()},
    'imitations': [result._asdict() for result in results],
  }


def baselines(
  episodes: Sequence[types.Demonstration], action_size: int
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
  """What imitation is compared with, as acting functions for one use each.

  `zero_action`; and, where the demonstrations' actions are known, `noisy_replay`: those, open loop,
  with normal noise of standard deviation `REPLAY_NOISE`.
  """
  named: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    'zero_action': lambda observations: np.zeros((len(observations), action_size))
  }
  if episodes[0].trajectory.actions.shape[1]:
    named['noisy_replay'] = _replay(episodes, np.random.default_rng(0))
  return named


def _replay(episodes, rng):
  actions = [episode.trajectory.actions for episode in episodes]
  padded = np.zeros((max(map(len, actions)), len(actions), actions[0].shape[1]))
  for i, taken in enumerate(actions):
    padded[: len(taken), i] = taken
  steps = iter(padded)
  return lambda observations: np.clip(
    next(steps) + REPLAY_NOISE * rng.normal(size=padded.shape[1:]), -1, 1
  )
