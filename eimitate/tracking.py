"""Runs that follow demonstrations: how, what they are given, and how well an agent imitates."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from eimitate import errors
from eimitate import runs
from eimitate import types
from eimitate.demonstrations.dataset import Dataset
from eimitate.environments import OnDevice
from eimitate.environments import tracking as wrappers
from eimitate.environments import tracking_on_device as on_device
from eimitate.rewards import tracking as rewards

# A restored state that shows something else than was recorded is one of another model.
_TOLERANCE = 1e-3


class Imitation(NamedTuple):
  """How well one demonstration was imitated.

  imitation: tracking rewards until tracking was lost; attainable: the steps, each worth 1.
  task: the task's return of the whole episode, None where it was not recorded; demonstrated: the
    demonstration's own.
  tracked: steps until tracking was lost.
  """

  imitation: float
  attainable: float
  task: float | None
  demonstrated: float
  tracked: int


def divide(dataset: Dataset, count: int, config: runs.TrackingConfig) -> tuple[Dataset, Dataset]:
  """The demonstrations to learn from, and those behind them: maybe none.

  Args:
    dataset: all of them.
    count: how many to learn from. 0 for all where `config` names others to validate with, else for
      all but a quarter of them, or but `config.evaluated` if that is less.
    config: how demonstrations are followed.

  Raises:
    InputError: if there are fewer than `count`.
  """
  available = len(dataset.episodes)
  kept = 0 if config.validation else min(available // 4, config.evaluated)
  count = count or available - kept
  return dataset.take(count), dataset.after(count)


def make_parts(
  config: runs.TrackingConfig, demonstrations: Sequence[wrappers.Demonstrated]
) -> dict[str, rewards.Part]:
  """The parts that the reward compares, with sigmas from the demonstrations.

  Raises:
    InputError: if the configuration names a part that is not observed, or leaves no weight.
  """
  known = [*wrappers.compared(demonstrations[0])]
  weights = _parse('parts', config.parts) or dict.fromkeys(known, 1.0)
  farthest = _parse('farthest', config.farthest)
  for field, named in (('parts', weights), ('farthest', farthest)):
    missing = sorted(set(named) - set(known))
    field = f'config.tracking.{field}'
    errors.check(not missing, field, ', '.join(missing), f'parts among {", ".join(known)}')
  errors.check(
    any(weights.values()), 'config.tracking.parts', repr(config.parts), 'a weight above 0'
  )
  scales = rewards.scales(config.width, map(wrappers.compared, demonstrations))
  part = lambda name: rewards.Part(
    weights.get(name, 0.0), scales[name], farthest.get(name, float('inf'))
  )
  return {name: part(name) for name in known if name in weights or name in farthest}


def check(
  dataset: Dataset, environment, shortest: int = 1, curricula: Mapping[str, int] | None = None
) -> None:
  """Raises `InputError` unless the demonstrations can be followed in `environment`.

  Args:
    dataset: of the environment's task and action repeat.
    environment: like `suite.SuiteEnvironment`, or a batch on device.
    shortest: steps that a demonstration has at least.
    curricula: by their setting, first steps of a demonstration at which episodes begin.
  """
  expected = 'what an episode starts from'
  errors.check(dataset.has_states, 'demonstrations states', 'none', expected)
  found, wanted = dataset.metadata.control_timestep, environment.control_timestep
  same = bool(np.isclose(found, wanted, rtol=1e-6))
  errors.check(same, 'demonstrations control timestep', f'{found} s', f"the task's {wanted} s")
  steps = min(len(episode.states) - 1 for episode in dataset.episodes)
  errors.check(
    steps >= shortest, 'demonstrations', f'one of {steps} steps', f'at least n_step = {shortest}'
  )
  limit, most = environment.longest_episode, max(len(x.states) - 1 for x in dataset.episodes)
  expected = f"at most the task's {limit}"
  errors.check(not 0 < limit < most, 'demonstrations', f'one of {most} steps', expected)
  expected = f'at most {steps}, the steps of the shortest demonstration: no goal follows its end'
  for field, curriculum in (curricula or {}).items():
    errors.check(curriculum <= steps, f'config.tracking.{field}', curriculum, expected)
  for i, episode in enumerate(dataset.episodes):
    field = f'demonstrations episode {i}'
    shown = episode.trajectory.observations
    nothing = (shown[1:] == 0).all(1).any()  # The first is no goal.
    errors.check(not nothing, field, 'an observation of zeros', 'others: zeros say no goal')
    if isinstance(environment, OnDevice):
      continue  # A simulation's states have nothing to look at before it steps.
    environment.restore(episode.states[0], episode.model_fields)
    features = environment.features()
    sizes = f'size {shown.shape[1]}', f"the task's {len(features)}"
    errors.check(len(features) == shown.shape[1], f'{field} observations', *sizes)
    off = float(np.abs(features - shown[0]).max())
    expected = f'what was recorded, within {_TOLERANCE}'
    errors.check(off <= _TOLERANCE, f'{field} states', f'observations off by {off:.3g}', expected)


def make_spec(plain: types.EnvironmentSpec, dataset: Dataset, count: int) -> types.EnvironmentSpec:
  """What an agent must know of an environment that follows the demonstrations.

  Args:
    plain: of the environment itself.
    dataset: the demonstrations.
    count: rewards a step.
  """
  if plain.frame:
    *size, goal = plain.frame
    return plain._replace(frame=(*size, 2 * goal), goal=goal, rewards=count)
  rows = [episode.trajectory.observations for episode in dataset.episodes]
  seen = np.concatenate(rows).astype(np.float64)
  moved = np.concatenate([np.diff(x, axis=0) for x in rows]).astype(np.float64)
  positive = lambda x: np.where(x > 0, x, 1.0).tolist()
  # What lies still trembles by micrometres, which are no units for when the agent pushes it.
  step = np.maximum(np.sqrt((moved**2).mean(0)), 0.01 * seen.std(0))
  return plain._replace(
    observation_size=2 * plain.observation_size,
    observation_mean=tuple(2 * seen.mean(0).tolist()),
    observation_scale=tuple(2 * positive(seen.std(0))),
    goal=plain.observation_size,
    goal_scale=tuple(positive(step)),
    rewards=count,
  )


def with_goals(dataset: Dataset) -> Dataset:
  """The demonstrations as those would have them who follow them without fault, and are rewarded."""

  def following(episode):
    observations = episode.trajectory.observations
    goals = np.concatenate([observations[1:], observations[-1:]])
    trajectory = episode.trajectory._replace(
      observations=np.concatenate([observations, goals], -1),
      rewards=np.ones_like(episode.trajectory.rewards),
    )
    return episode._replace(trajectory=trajectory)

  return dataclasses.replace(dataset, episodes=tuple(map(following, dataset.episodes)))


def make_actors(
  make: Callable[[], Any],
  parts: Mapping[str, rewards.Part],
  config: runs.TrackingConfig,
  demonstrations: Sequence[wrappers.Demonstrated],
  count: int,
  which: Sequence[int],
) -> list:
  """Environments to collect from: those that follow first, then those that perform the task.

  Args:
    make: an environment.
    parts: of the reward.
    config: the rules.
    demonstrations: to follow.
    count: of actors in all.
    which: of the rewards a step has.
  """
  rules = wrappers.Rules(parts, config.cutoff, config.curriculum)
  following = [make() for _ in range(count - config.task_actors)]
  performing = [make() for _ in range(config.task_actors)]
  if config.task_curriculum:
    performing = begin_within(performing, demonstrations, config.task_curriculum)
  return [wrappers.Follow(each, demonstrations, rules, which) for each in following] + [
    wrappers.Perform(each) for each in performing
  ]


def begin_within(
  made: Sequence[Any], demonstrations: Sequence[wrappers.Demonstrated], steps: int
) -> list[wrappers.Begin]:
  """The environments, with episodes begun within so many first steps of a demonstration."""
  return [wrappers.Begin(environment, demonstrations, steps) for environment in made]


def make_evaluators(
  made: Sequence[Any],
  parts: Mapping[str, rewards.Part],
  cutoff: float,
  episodes: Sequence[types.Demonstration],
  which: Sequence[int] = (wrappers.TASK, wrappers.TRACKING),
) -> list[wrappers.Follow]:
  """Demonstrations that are each followed from beginning to end, whatever is lost.

  Args:
    made: environments, one for each demonstration.
    parts, cutoff: see `rewards.tracking`.
    episodes: the demonstrations, with features observed or frames drawn.
    which: of the rewards a step has.
  """
  rules = wrappers.Rules(parts, cutoff, ends_when_lost=False)
  return [
    wrappers.Follow(environment, [wrappers.demonstrated(environment, episode)], rules, which)
    for environment, episode in zip(made, episodes, strict=True)
  ]


def make_actors_on_device(
  batch: OnDevice,
  parts: Mapping[str, rewards.Part],
  config: runs.TrackingConfig,
  episodes: Sequence[types.Demonstration],
  which: Sequence[int],
) -> on_device.Follow:
  """As `make_actors`, for a batch of environments on device.

  Raises:
    InputError: if the demonstrations' states are none of the simulation's.
  """
  starts = max(config.curriculum, config.task_curriculum, 1)
  return on_device.Follow(
    batch,
    on_device.show(batch, episodes, starts),
    wrappers.Rules(parts, config.cutoff, config.curriculum),
    which,
    config.task_actors,
    config.task_curriculum,
  )


def make_evaluators_on_device(
  batch: OnDevice,
  parts: Mapping[str, rewards.Part],
  cutoff: float,
  episodes: Sequence[types.Demonstration],
  which: Sequence[int] = (wrappers.TASK, wrappers.TRACKING),
  performances: int = 0,
) -> on_device.Follow:
  """As `make_evaluators`, and then so many that perform the task."""
  return on_device.Follow(
    batch.of(len(episodes) + performances),
    on_device.show(batch, episodes, 1),
    wrappers.Rules(parts, cutoff, ends_when_lost=False),
    which,
    performances,
    in_turn=True,
  )


def make_summary(
  seen: Sequence[types.Demonstration], unseen: Sequence[types.Demonstration]
) -> Callable[[Sequence[types.Trajectory | None]], dict[str, float]]:
  """What sums up an evaluation: episodes that follow the unseen, then the seen, then of the task.

  Returns:
    A function of their trajectories to `fractions` of the unseen demonstrations, as far as they are
    known; those of the seen ones as `training_...`; `task_return`; and `mean_return`, the imitation
    return of the unseen ones, or of the seen where there are no others.
  """
  followed = [*unseen, *seen]

  def known(results):
    return {name: value for name, value in fractions(results).items() if value is not None}

  def summarise(trajectories):
    results = [imitation(*pair) for pair in zip(trajectories, followed)]
    by_seen = known(results[len(unseen) :])
    summary = {f'training_{name}': value for name, value in by_seen.items()}
    summary |= known(results[: len(unseen)]) if unseen else {}
    main = results[: len(unseen)] or results
    summary['mean_return'] = float(np.mean([result.imitation for result in main]))
    summary['fraction_of_expert'] = known(main)['imitation_fraction']
    performed = [x.task_return if x else 0.0 for x in trajectories[len(followed) :]]
    return summary | ({'task_return': float(np.mean(performed))} if performed else {})

  return summarise


def imitation(trajectory: types.Trajectory | None, episode: types.Demonstration) -> Imitation:
  """What an evaluator's episode was worth; nothing where its environment failed."""
  own, steps = episode.trajectory.task_return, len(episode.states) - 1
  if trajectory is None:
    return Imitation(0.0, steps, 0.0, own, 0)
  several = lambda x: x.reshape(len(x), -1)
  tracked = int(several(trajectory.discounts)[:, -1].sum())
  followed = several(trajectory.rewards)[:tracked, -1]
  task = trajectory.task_return if trajectory.rewards.ndim > 1 else None
  return Imitation(float(followed.sum()), steps, task, own, tracked)


def fractions(results: Sequence[Imitation]) -> dict[str, float | None]:
  """Imitation and task return as fractions of what the demonstrations' own are.

  Returns:
    `imitation_fraction` of the attainable; `tracked_fraction` of the steps; `task_fraction`, None
    where it was not recorded or the demonstrations' own return is 0.
  """
  total = lambda name: float(sum(getattr(result, name) or 0 for result in results))
  own, known = total('demonstrated'), all(result.task is not None for result in results)
  return {
    'imitation_fraction': total('imitation') / total('attainable'),
    'tracked_fraction': total('tracked') / total('attainable'),
    'task_fraction': total('task') / own if own and known else None,
  }


def _parse(field: str, text: str) -> dict[str, float]:
  """`name=number,name=number` as a dictionary."""
  found = {}
  for item in filter(None, text.split(',')):
    name, separator, number = item.partition('=')
    twice = name.strip() in found
    try:
      found[name.strip()] = float(number)
      good = bool(separator and name.strip()) and 0 <= float(number) < np.inf
    except ValueError:
      good = False
    errors.check(good, f'config.tracking.{field}', repr(item), 'NAME=NUMBER, from 0')
    errors.check(not twice, f'config.tracking.{field}', f'{name.strip()} twice', 'each name once')
  return found
