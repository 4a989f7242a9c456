"""D4RL's flat arrays (https://github.com/Farama-Foundation/D4RL), in HDF5.

`observations` `[N, O]`, `actions` `[N, A]`, `rewards`, `terminals` and optional `timeouts` `[N]`,
optional `next_observations` `[N, O]`. An episode ends where `terminals` or `timeouts` are true or,
without `timeouts`, where the next observation is not the one that follows; what follows the last
end is an episode that was cut off. Simulator states, `infos/qpos` and `infos/qvel`, are not used.
"""

from collections.abc import Mapping
import os

import numpy as np

from eimitate import errors
from eimitate.demonstrations.formats import hdf5
from eimitate.demonstrations.formats import steps

ARRAYS = ('observations', 'next_observations', 'actions', 'rewards', 'terminals', 'timeouts')


def read(path: str | os.PathLike, observation_keys: tuple[str, ...]) -> steps.Found:
  """All episodes, as `split` finds them.

  Raises:
    InputError: if the file is damaged or of another schema, or keys are given: nothing has any.
  """
  errors.check(not observation_keys, 'observation_keys', observation_keys, 'none for d4rl')
  states = hdf5.with_parents(steps.STATES)
  arrays, left = hdf5.read(path, f'{"|".join(ARRAYS)}|{states}', states)
  return steps.say_states(split('d4rl', arrays), bool(left))


def split(where: str, arrays: Mapping[str, np.ndarray]) -> steps.Found:
  """Episodes from flat arrays.

  Without `next_observations` an episode loses its last action, whose outcome was not recorded, and
  with it its termination: it then ends with discount 1. It is left out if it has no other action.

  Raises:
    InputError: if an array is missing or does not fit the others.
  """
  missing = [name for name in ('observations', 'terminals') if name not in arrays]
  errors.check(not missing, where, sorted(arrays), f'also {missing}')
  total = steps.check_rows(where, arrays)
  ends = np.zeros(total, bool)
  for name in ('terminals', 'timeouts'):
    flags = arrays.get(name, ends)
    good = flags.ndim == 1 and flags.dtype.kind in 'biuf'
    found = f'{flags.dtype} of shape {flags.shape}'
    errors.check(good, f'{where}/{name}', found, f'{total} flags, rank 1')
    ends = ends | (flags != 0)
  words = []
  if 'timeouts' not in arrays:
    following = arrays.get('next_observations')
    if following is not None and following.shape == arrays['observations'].shape:
      several = tuple(range(1, following.ndim))
      ends[:-1] |= (following[:-1] != arrays['observations'][1:]).any(several)
    else:
      words.append('no timeouts: taken to end only where terminals are true')
  bounds = [0, *(np.flatnonzero(ends) + 1).tolist()]
  if bounds[-1] < total:
    bounds.append(total)
  names = {name: name for name in ARRAYS[:4]} | {'terminals': 'terminations'}
  found, lost = steps.to_trajectories(
    {
      f'{where} episode {i}': {
        new: arrays[old][start:end] for old, new in names.items() if old in arrays
      }
      for i, (start, end) in enumerate(zip(bounds, bounds[1:]))
    }
  )
  return found, '; '.join([*words, lost] if lost else words)
