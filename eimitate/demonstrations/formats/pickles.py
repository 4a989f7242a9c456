"""Pickles of NumPy arrays: D4RL's flat arrays in a dict, or a list with a dict per episode.

An episode's dict holds `observations` and optional `actions`, `rewards`, `terminals` and
`next_observations`; other entries, `dones` among them, are not used: they do not tell a termination
from a time limit. Observations may have one row more than the rest; otherwise an episode without
`next_observations` loses its last action, whose outcome was not recorded.
"""

import os

import numpy as np

from eimitate import errors
from eimitate.demonstrations import schema
from eimitate.demonstrations.formats import d4rl
from eimitate.demonstrations.formats import steps
from eimitate.demonstrations.formats import unpickling

_EPISODE_ARRAYS = ('observations', 'next_observations', 'actions', 'rewards', 'terminals')


def read(path: str | os.PathLike, observation_keys: tuple[str, ...]) -> steps.Found:
  """All episodes; nothing in the file is executed.

  Raises:
    InputError: if the file is damaged, holds anything but arrays and plain values or is of another
      schema, or keys are given: nothing has any.
  """
  errors.check(not observation_keys, 'observation_keys', observation_keys, 'none for pickles')
  errors.check(os.path.isfile(path), 'pickle', f'no file {path}', 'a pickle')
  size = os.path.getsize(path)
  errors.check(size <= schema.MOST_BYTES, 'pickle', f'{size} bytes', f'at most {schema.MOST_BYTES}')
  with open(path, 'rb') as file:
    value = unpickling.load(file.read())
  if type(value) is dict:
    found = d4rl.split('pickle', _to_arrays('pickle', value, d4rl.ARRAYS))
    return steps.say_states(found, any(name in value for name in steps.STATES))
  if not isinstance(value, (list, tuple)):
    kind = type(value).__name__
    raise errors.InputError(f'pickle: found {kind}, expected a dict, or a list of dicts')
  episodes = [
    _to_arrays(f'pickle episode {i}', episode, _EPISODE_ARRAYS) for i, episode in enumerate(value)
  ]
  # One array may stand in many episodes without being in the file more than once.
  sizes = [array.size * max(array.itemsize, 4) for arrays in episodes for array in arrays.values()]
  found = f'{sum(sizes)} bytes of arrays'
  errors.check(sum(sizes) <= schema.MOST_BYTES, 'pickle', found, f'at most {schema.MOST_BYTES}')
  rename = lambda name: 'terminations' if name == 'terminals' else name
  named = {
    f'pickle episode {i}': {rename(name): array for name, array in arrays.items()}
    for i, arrays in enumerate(episodes)
  }
  return steps.to_trajectories(named, [where for where, x in named.items() if _is_cut(where, x)])


def _to_arrays(where, value, names):
  errors.check(type(value) is dict, where, type(value).__name__, 'a dict of arrays')
  known = {name: value[name] for name in names if name in value}
  errors.check('observations' in known, where, ascii(sorted(value))[:300], 'observations')
  for name, array in known.items():
    kind = type(array).__name__
    errors.check(isinstance(array, unpickling.Array), f'{where}/{name}', kind, 'a NumPy array')
  return {name: array.values for name, array in known.items()}


def _is_cut(where, arrays):
  """Whether no observation follows the last action."""
  rest = {name: array for name, array in arrays.items() if name != 'observations'}
  if not rest:
    steps.check_rows(where, arrays)
    return False
  if 'next_observations' in rest:
    return True
  return len(np.atleast_1d(arrays['observations'])) != steps.check_rows(where, rest) + 1
