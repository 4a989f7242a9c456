"""From the arrays of one episode, as a source names and types them, to a trajectory.

The arrays are `observations`, `next_observations`, `actions`, `rewards` and `terminations`; all but
the first may be missing.
"""

from collections.abc import Collection, Mapping

import numpy as np

from eimitate import errors
from eimitate import types

Arrays = Mapping[str, np.ndarray]
# Episodes, and a few words on what of the source is not among them.
Found = tuple[list[types.Trajectory], str]
# What D4RL and Minari call a simulator's.
STATES = ('infos/qpos', 'infos/qvel')


def check_rows(where: str, arrays: Arrays) -> int:
  """How many rows all `arrays` have.

  Raises:
    InputError: if they do not agree, or one has none to count.
  """
  _check_have_rows(where, arrays)
  rows = {name: len(array) for name, array in arrays.items()}
  errors.check(len(set(rows.values())) == 1, where, f'rows {rows}', 'as many in each')
  return next(iter(rows.values()))


def _check_have_rows(where, arrays):
  for name, array in arrays.items():
    errors.check(array.ndim >= 1, f'{where}/{name}', 'a single number', 'one row per step')


def close(where: str, arrays: Arrays) -> dict[str, np.ndarray]:
  """Adds the observation after the last action, from `arrays` with `T` rows each.

  It is the last of `next_observations`. Without those nobody knows where the last action led, so
  the last step goes, and with it a termination; no step may remain.

  Raises:
    InputError: if the numbers of rows differ.
  """
  check_rows(where, arrays)
  rest = dict(arrays)
  observations, following = rest.pop('observations'), rest.pop('next_observations', None)
  if following is None:
    return {'observations': observations} | {name: array[:-1] for name, array in rest.items()}
  errors.check(
    following.shape == observations.shape,
    f'{where}/next_observations',
    f'shape {following.shape}',
    observations.shape,
  )
  return {'observations': np.concatenate([observations, following[-1:]])} | rest


def to_trajectories(episodes: Mapping[str, Arrays], cut: Collection[str] | None = None) -> Found:
  """Episodes by what to call them, closed; one of which nothing remains is left out.

  Args:
    episodes: as in `to_trajectory`, or with one observation less; also `next_observations`.
    cut: those with one observation less; all if not given.

  Raises:
    InputError: see `close` and `to_trajectory`; also if only some episodes have rewards.
  """
  rewarded = sum('rewards' in arrays for arrays in episodes.values())
  found = f'{rewarded} of {len(episodes)} episodes with rewards'
  errors.check(rewarded in (0, len(episodes)), 'rewards', found, 'all or none')
  words = [] if rewarded else ['rewards not known, zeros in their place']
  cut = episodes if cut is None else cut
  for where, arrays in episodes.items():
    _check_have_rows(where, arrays)
  closed = {where: close(where, x) if where in cut else x for where, x in episodes.items()}
  whole = {where: arrays for where, arrays in closed.items() if len(arrays['observations']) > 1}
  lost = [episodes[where] for where in cut if 'next_observations' not in episodes[where]]
  trajectories = [to_trajectory(where, arrays) for where, arrays in whole.items()]
  if lost:
    words.append(_say_lost(lost, len(closed) - len(whole)))
  return trajectories, '; '.join(words)


def _say_lost(lost, gone):
  sums = {
    name: sum(float(np.sum(arrays[name][-1:])) for arrays in lost if name in arrays)
    for name in ('terminations', 'rewards')
  }
  words = (
    f'{len(lost)} last actions left out, as no observation follows them: {sums["terminations"]:g}'
    f' terminations, rewards of {sums["rewards"]:g} in all'
  )
  return words + (f', {gone} episodes with no other' if gone else '')


def say_states(found: Found, present: bool) -> Found:
  """Adds words on a source's simulator states where they are `present`: none are used.

  They are of the source's own model, which need not be the task's.
  """
  trajectories, words = found
  said = 'simulator states left out'
  return (trajectories, f'{words}; {said}' if words else said) if present else found


def to_trajectory(where: str, arrays: Arrays) -> types.Trajectory:
  """One episode.

  Args:
    where: what to call it in messages.
    arrays: `observations` `[T + 1, ...]` of any number type, `actions` `[T, A]` floating point in
      the source's own units, `rewards` `[T]` and `terminations` `[T]`, true at most at the end.
      Without actions the trajectory's have width 0, without rewards its are zeros.

  Raises:
    InputError: on a wrong rank, type or number of rows, or a value that is not finite in float32.
  """
  observations = arrays['observations']
  field = f'{where}/observations'
  good = observations.ndim >= 2 and len(observations) >= 2 and observations.size > 0
  expected = 'at least two rows, rank 2 or more'
  errors.check(good, field, f'shape {observations.shape}', expected)
  steps = len(observations) - 1
  actions = arrays.get('actions', np.zeros((steps, 0), np.float32))
  errors.check(actions.dtype.kind == 'f', f'{where}/actions', actions.dtype, 'floating point')
  rewards = arrays.get('rewards', np.zeros(steps, np.float32))
  terminations = arrays.get('terminations', np.zeros(steps, bool))
  for name, array, rank in (
    ('actions', actions, 2),
    ('rewards', rewards, 1),
    ('terminations', terminations, 1),
  ):
    good = array.ndim == rank and len(array) == steps
    expected = f'{steps} rows ({steps + 1} observations), rank {rank}'
    errors.check(good, f'{where}/{name}', f'shape {array.shape}', expected)
  ended = _to_float32(f'{where}/terminations', terminations) != 0
  early = np.flatnonzero(ended[:-1])
  found = f'true after step {early[0] if len(early) else 0} of {steps}'
  errors.check(not len(early), f'{where}/terminations', found, 'only at the end of an episode')
  return types.Trajectory(
    _to_float32(field, observations).reshape(steps + 1, -1),
    _to_float32(f'{where}/actions', actions),
    _to_float32(f'{where}/rewards', rewards),
    1 - ended.astype(np.float32),
  )


def _to_float32(field, array):
  errors.check(array.dtype.kind in 'biuf', field, array.dtype, 'numbers')
  with np.errstate(over='ignore'):
    result = array.astype(np.float32)
  finite = bool(np.isfinite(result).all())
  errors.check(finite, field, 'NaN, infinite or huge values', 'finite numbers in float32')
  return result
