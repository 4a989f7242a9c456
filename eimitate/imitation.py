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

# From demonstrations to what acts, for one episode of each.
MakeAct = Callable[[Sequence[types.Demonstration]], Callable[[np.ndarray], np.ndarray]]

# Demonstrations followed at a time.
_BATCH = 20

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
  made = [first, *(make() for _ in dataset.episodes[1:_BATCH])]
  batches = [dataset.episodes[i : i + _BATCH] for i in range(0, len(dataset.episodes), _BATCH)]

  def measure(make_act):
    results = []
    for batch in batches:
      cutoff = config['tracking']['cutoff']
      evaluators = tracking.make_evaluators(made[: len(batch)], parts, cutoff, batch)
      seeds = range(len(batch))
      trajectories = acting.collect_episodes(make_act(batch), evaluators, seeds).trajectories
      results += [tracking.imitation(*pair) for pair in zip(trajectories, batch)]
    return results

  policy = lambda seen: np.asarray(loaded.policy(loaded.params, jax.random.key(0), seen))
  results = measure(lambda batch: policy)
  others = baselines(first.action_spec().shape[0], dataset.has_actions)
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


def baselines(action_size: int, actions_known: bool) -> dict[str, MakeAct]:
  """What imitation is compared with, from demonstrations to what acts in their place.

  `zero_action`; and, where the demonstrations' actions are known, `noisy_replay`: those, open loop,
  with normal noise of standard deviation `REPLAY_NOISE`.
  """
  still = lambda observations: np.zeros((len(observations), action_size))
  named: dict[str, MakeAct] = {'zero_action': lambda batch: still}
  if actions_known:
    named['noisy_replay'] = _replay
  return named


def _replay(batch):
  actions, rng = [episode.trajectory.actions for episode in batch], np.random.default_rng(0)
  padded = np.zeros((max(map(len, actions)), len(actions), actions[0].shape[1]))
  for i, taken in enumerate(actions):
    padded[: len(taken), i] = taken
  noisy = iter(np.clip(padded + REPLAY_NOISE * rng.normal(size=padded.shape), -1, 1))
  return lambda observations: next(noisy)
