"""From a source's episodes to ours: pure functions on lists of demonstrations.

Each returns the new episodes and a few words on what it did, for the user and the file's
provenance; no words where it did nothing.
"""

from collections.abc import Sequence

import numpy as np

from eimitate import errors
from eimitate import types

Changed = tuple[list[types.Demonstration], str]
# Of steps in an action. No task's episode has as many; one without an end would keep a replay busy
# for ever.
MOST_REPEAT = 10_000


def wrap(trajectories: Sequence[types.Trajectory]) -> list[types.Demonstration]:
  """Demonstrations without states or model fields."""
  return [
    types.Demonstration(trajectory, np.zeros((len(trajectory.observations), 0)), {})
    for trajectory in trajectories
  ]


def parse_choice(text: str) -> list[int]:
  """Numbers of episodes, from 0, in the order of `0,3,5-9`.

  Raises:
    InputError: if the text is of another form, or names an episode twice.
  """
  field, expected = '--episodes', 'numbers and ranges, such as 0,3,5-9'
  chosen = []
  for part in text.split(','):
    first, dash, last = part.partition('-')
    good = all(end.isascii() and end.isdigit() and len(end) < 8 for end in (first, last or first))
    errors.check(good and bool(last) == bool(dash), field, repr(text), expected)
    errors.check(not last or int(first) <= int(last), field, repr(text), expected)
    chosen.extend(range(int(first), int(last or first) + 1))
  errors.check(len(set(chosen)) == len(chosen), field, repr(text), 'no episode twice')
  return chosen


def choose(episodes: list[types.Demonstration], numbers: Sequence[int]) -> Changed:
  """Some of the episodes, in the order of `numbers`.

  Raises:
    InputError: if there is no such episode.
  """
  errors.check(len(numbers) > 0, '--episodes', 'none', 'at least one')
  available = len(episodes)
  errors.check(max(numbers) < available, '--episodes', max(numbers), f'0 to {available - 1}')
  return [episodes[i] for i in numbers], f'{len(numbers)} of {available} episodes'


def change_actions(
  episodes: list[types.Demonstration],
  how: str,
  low: Sequence[float] = (),
  high: Sequence[float] = (),
) -> Changed:
  """Brings the actions into [-1, 1].

  Args:
    episodes: with actions `[T, A]` in the source's units.
    how: `keep` the actions, which must lie there; `clip` what does not; `rescale` linearly from
      [low, high], where all must lie; or `drop` them, for demonstrations without actions.
    low, high: one number, or one per component; for `rescale` only.

  Raises:
    InputError: if the actions lie elsewhere, or there are none and they are not to be dropped.
  """
  actions = np.concatenate([episode.trajectory.actions for episode in episodes])
  size = actions.shape[1]
  errors.check(how in _CHANGES, '--actions', repr(how), ' or '.join(_CHANGES))
  known = size > 0 or how == 'drop'
  errors.check(known, 'actions', 'none in the source', 'some, or --actions=drop')
  bounded = bool(low) and bool(high) if how == 'rescale' else not low and not high
  found = f'--actions={how} with bounds {tuple(low)}, {tuple(high)}'
  expected = '--action_low and --action_high with rescale, and only there'
  errors.check(bounded, 'actions', found, expected)
  changed, words = _CHANGES[how](actions, low, high)
  ends = np.cumsum([len(episode.trajectory.actions) for episode in episodes])[:-1]
  return [
    episode._replace(trajectory=episode.trajectory._replace(actions=part))
    for episode, part in zip(episodes, np.split(changed, ends))
  ], words


def subsample(episodes: list[types.Demonstration], repeat: int, repeated: str = 'same') -> Changed:
  """Joins every `repeat` steps to one, as an action repeat does.

  Observations and states are every `repeat`-th and the last, rewards are summed, discounts
  multiplied; the last group of an episode may be shorter.

  Args:
    episodes: any.
    repeat: steps of the source per action.
    repeated: which action stands for a group: the `same` one, which all must be, the `first` or the
      `mean`.

  Raises:
    InputError: if a group's actions differ and `repeated` is `same`.
  """
  errors.check(1 <= repeat <= MOST_REPEAT, '--action_repeat', repeat, f'1 to {MOST_REPEAT}')
  choices = ('same', 'first', 'mean')
  errors.check(repeated in choices, '--repeated_actions', repr(repeated), ' or '.join(choices))
  if repeat == 1:
    return episodes, ''
  groups = differing = 0
  for episode in episodes:
    actions = episode.trajectory.actions
    starts = np.arange(0, len(actions), repeat)
    equal = (actions == actions[starts[np.arange(len(actions)) // repeat]]).all(1)
    differing += int((~np.logical_and.reduceat(equal, starts)).sum())
    groups += len(starts)
  errors.check(
    repeated != 'same' or not differing,
    'actions',
    f'{differing} of {groups} groups of {repeat} whose actions differ',
    'the same action repeated, or --repeated_actions=first or mean',
  )
  words = f'every {repeat} steps joined'
  if differing:
    words += f' ({differing} of {groups} with different actions, the {repeated} taken)'
  return [_subsample_episode(episode, repeat, repeated) for episode in episodes], words


def _subsample_episode(episode, repeat, repeated):
  trajectory = episode.trajectory
  steps = len(trajectory.rewards)
  starts = np.arange(0, steps, repeat)
  kept = [*starts.tolist(), steps]
  actions = trajectory.actions[starts]
  if repeated == 'mean' and actions.size:
    counts = np.diff(kept)[:, None]
    sums = np.add.reduceat(trajectory.actions.astype(np.float64), starts)
    actions = (sums / counts).astype(np.float32)
  rewards = np.add.reduceat(trajectory.rewards.astype(np.float64), starts)
  joined = types.Trajectory(
    trajectory.observations[kept],
    actions,
    rewards.astype(np.float32),
    np.multiply.reduceat(trajectory.discounts, starts),
  )
  return episode._replace(trajectory=joined, states=episode.states[kept])


def _keep(actions, *_):
  largest = float(np.abs(actions).max())
  expected = 'at most 1, or --actions=clip or rescale'
  errors.check(largest <= 1, 'actions', f'magnitude {largest}', expected)
  return actions, ''


def _clip(actions, *_):
  outside = int((np.abs(actions) > 1).sum())
  return np.clip(actions, -1, 1), f'{outside} of {actions.size} action components clipped'


def _rescale(actions, low, high):
  size = actions.shape[1]
  for name, bound in (('--action_low', low), ('--action_high', high)):
    good = len(bound) in (1, size) and bool(np.isfinite(bound).all())
    errors.check(good, name, tuple(bound), f'1 or {size} finite numbers')
  # As the actions, which were cast: a bound of 0.1 lies below its own float32.
  lowest = np.broadcast_to(np.array(low, np.float32).astype(np.float64), size)
  highest = np.broadcast_to(np.array(high, np.float32).astype(np.float64), size)
  errors.check(bool((lowest < highest).all()), '--action_low', tuple(low), 'below --action_high')
  outside = int(((actions < lowest) | (actions > highest)).sum())
  found = f'{outside} of {actions.size} components outside'
  errors.check(not outside, 'actions', found, f'all within {tuple(low)} to {tuple(high)}')
  result = 2 * ((actions - lowest) / (highest - lowest)) - 1
  bounds = f'{",".join(map(str, low))} to {",".join(map(str, high))}'
  return result.astype(np.float32), f'actions rescaled from {bounds}'


def _drop(actions, *_):
  return actions[:, :0], 'actions dropped'


_CHANGES = {'keep': _keep, 'clip': _clip, 'rescale': _rescale, 'drop': _drop}
