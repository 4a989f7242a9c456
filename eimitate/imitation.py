"""One-shot imitation: demonstrations never seen before, followed once, beside simple baselines."""

from collections.abc import Callable, Sequence
import itertools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eimitate import acting
from eimitate import acting_on_device
from eimitate import environments
from eimitate import errors
from eimitate import evaluation
from eimitate import runs
from eimitate import tracking
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.rewards import tracking as rewards

# From demonstrations to actions `[T, B, A]` in [-1, 1], taken whatever is observed.
OpenLoop = Callable[[Sequence[types.Demonstration]], np.ndarray]

# From demonstrations to what becomes of them, an episode of each: the agent acts unless actions are
# given.
_Follow = Callable[[Sequence[types.Demonstration], np.ndarray | None], Sequence]
_Way = Callable[[Sequence[types.Demonstration]], Sequence]

# Demonstrations followed at a time on the host.
_BATCH = 20

# Standard deviation of the noise on the actions of open-loop replay: 5% of their range.
REPLAY_NOISE = 0.1


def evaluate(loaded: evaluation.Loaded, path: str | os.PathLike, count: int = 0) -> dict[str, Any]:
  """Imitates the demonstrations of a dataset once each, from beginning to end.

  Args:
    loaded: an agent that follows demonstrations.
    path: of the dataset. Of the one that the agent learnt from, those behind the ones that it saw.
    count: how many, the first ones; 0 for all.

  Returns:
    `tracking.fractions` of the agent, of each baseline under `baselines`, and each demonstration's
    own numbers under `imitations`. On the host `analytic_tracker` is among the baselines: the
    simulator's own best action for every next step.

  Raises:
    InputError: if the agent follows no demonstrations, or not these, or there are fewer.
  """
  description = loaded.description
  plain, dataset = _prepare(loaded, path, count)
  on_device = isinstance(plain, environments.OnDevice)
  if on_device:
    follow = _on_device(loaded, plain, dataset.episodes)
  else:
    follow = _on_host(loaded, plain)
  batch = len(dataset.episodes) if on_device else _BATCH

  def measure(follow):
    results = []
    for first in range(0, len(dataset.episodes), batch):
      episodes = dataset.episodes[first : first + batch]
      results += [tracking.imitation(*pair) for pair in zip(follow(episodes), episodes)]
    return results

  results = measure(lambda episodes: follow(episodes, None))
  taking = lambda take: lambda episodes: follow(episodes, take(episodes))
  action_size = environments.environment_spec(plain).action_size
  open_loop = baselines(action_size, dataset.has_actions)
  others: dict[str, _Way] = {name: taking(take) for name, take in open_loop.items()}
  if not on_device:
    others['analytic_tracker'] = _make_tracker(description)
  return {
    'task': description['task'],
    'agent': description['agent'],
    'agent_steps': loaded.counters['agent_steps'],
    'updates': loaded.counters['updates'],
    'demonstrations': len(results),
    **tracking.fractions(results),
    'baselines': {name: tracking.fractions(measure(way)) for name, way in others.items()},
    'imitations': [result._asdict() for result in results],
  }


def film_first(
  loaded: evaluation.Loaded, path: str | os.PathLike, film: Callable[[Any], Any]
) -> tuple[Any, dataset_lib.Dataset]:
  """Imitates the first demonstration only, in an environment that `film` was put around.

  Returns:
    That environment, after the episode, and the demonstration.

  Raises:
    InputError: as `evaluate`, or if environments are on device.
  """
  plain, first = _prepare(loaded, path, 1)
  listed = not isinstance(plain, environments.OnDevice)
  errors.check(listed, '--video', 'environments on device', 'a task that is simulated on the host')
  filmed = film(plain)
  _on_host(loaded, filmed)(first.episodes, None)
  return filmed, first


def _prepare(loaded, path, count):
  """An environment to follow demonstrations in, and the first ones that the agent has not seen."""
  description = loaded.description
  follows = bool(description['tracking'])
  expected = 'one that follows demonstrations'
  errors.check(follows, 'checkpoint', f'a {description["agent"]} that follows none', expected)
  config, task, repeat = description['config'], description['task'], description['action_repeat']
  named = config['environment'], config['frame_size']
  if config['actors']['placement'] == 'device':
    plain = environments.make_on_device(task, repeat, 1, *named)
  else:
    plain = environments.make_environment(task, repeat, *named)
  dataset = dataset_lib.load(path)
  if dataset.checksum == description['demonstrations']:
    followed = runs.TrackingConfig(**config['tracking'])
    _, dataset = tracking.divide(dataset, config['num_demonstrations'], followed)
  errors.check(bool(dataset.episodes), '--demonstrations', f'{path} all seen', 'unseen ones')
  # A part or a copy of the file has another checksum.
  learnt = set(description['learnt'].split())
  again = sum(dataset_lib.fingerprint(episode) in learnt for episode in dataset.episodes)
  errors.check(not again, '--demonstrations', f'{path} with {again} learnt from', 'unseen ones')
  dataset = dataset.take(count, '--episodes') if count else dataset
  spec = environments.environment_spec(plain)
  dataset_lib.check_matches(dataset, task, repeat, spec, needs_actions=False)
  tracking.check(dataset, plain)
  if config['frame_size']:
    from eimitate.demonstrations import frames

    dataset = frames.with_frames(dataset, config['frame_size'])
  return plain, dataset


def baselines(action_size: int, actions_known: bool) -> dict[str, OpenLoop]:
  """What imitation is compared with, from demonstrations to the actions taken in their place.

  `zero_action`; and, where the demonstrations' actions are known, `noisy_replay`: those, open loop,
  with normal noise of standard deviation `REPLAY_NOISE`.
  """
  longest = lambda batch: max(len(episode.states) for episode in batch) - 1
  still = lambda batch: np.zeros((longest(batch), len(batch), action_size))
  named: dict[str, OpenLoop] = {'zero_action': still}
  if actions_known:
    named['noisy_replay'] = _replay
  return named


def _replay(batch):
  actions, rng = [episode.trajectory.actions for episode in batch], np.random.default_rng(0)
  padded = np.zeros((max(map(len, actions)), len(actions), actions[0].shape[1]))
  for i, taken in enumerate(actions):
    padded[: len(taken), i] = taken
  return np.clip(padded + REPLAY_NOISE * rng.normal(size=padded.shape), -1, 1)


def _on_host(loaded, first) -> _Follow:
  """Environments are made once and follow one batch after another."""
  description, made = loaded.description, [first]
  parts, cutoff = _rules(description)

  def follow(episodes, actions):
    while len(made) < len(episodes):
      frame_size, repeat = description['config']['frame_size'], description['action_repeat']
      made.append(environments.make_environment(description['task'], repeat, '', frame_size))
    evaluators = tracking.make_evaluators(made[: len(episodes)], parts, cutoff, episodes)
    if actions is None:
      calls = itertools.count()  # As an evaluation during training draws its keys.
      key = lambda: jax.random.key(next(calls))
      act = lambda seen: np.asarray(loaded.policy(loaded.params, key(), seen))
    else:
      taken = iter(actions)
      act = lambda seen: next(taken)
    return acting.collect_episodes(act, evaluators, range(len(episodes))).trajectories

  return follow


def _make_tracker(description) -> _Way:
  """What follows demonstrations by one step of inverse dynamics at a time."""
  # It imports MuJoCo, which decides on import whether it can draw.
  from eimitate.environments import inverse

  parts, cutoff = _rules(description)
  task, repeat = description['task'], description['action_repeat']
  acting_in = environments.make_environment(task, repeat, '', description['config']['frame_size'])
  tried_in = environments.make_environment(task, repeat)

  def track(episode):
    [follower] = tracking.make_evaluators([acting_in], parts, cutoff, [episode])
    recorded = episode.trajectory.observations if episode.features is None else episode.features
    goals = iter(recorded[1:])

    def act(observations):
      del observations  # Which may be frames.
      goal = next(goals)
      return inverse.nearest_action(tried_in, acting_in.save(), goal, parts)[None]

    try:
      return acting.collect_episodes(act, [follower], [0]).trajectories[0]
    except RuntimeError:  # It failed at once.
      return None

  return lambda episodes: [track(episode) for episode in episodes]


def _on_device(loaded, plain, episodes) -> _Follow:
  """All at once. Compiled once: a step has an action beside the agent's, and whether to take it."""
  evaluators = tracking.make_evaluators_on_device(plain, *_rules(loaded.description), episodes)
  shape = evaluators.longest_episode, len(episodes), plain.spec.action_size

  def act(params, given, seen):
    rng_key, take, action = given
    return jnp.where(take, action, loaded.policy(params, rng_key, seen))

  def follow(episodes, actions):
    del episodes  # The same.
    take, actions = (True, actions) if actions is not None else (False, np.zeros(shape))
    keys = jax.random.split(jax.random.key(0), len(actions))
    given = keys, np.full(len(actions), take), actions.astype(np.float32)
    return acting_on_device.rollout(act, loaded.params, evaluators, 0, given)[0]

  return follow


def _rules(description):
  parts = {name: rewards.Part(*values) for name, values in description['tracking'].items()}
  return parts, description['config']['tracking']['cutoff']
