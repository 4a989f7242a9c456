"""robomimic's datasets in HDF5 (https://robomimic.github.io).

`data/demo_i` holds `obs/KEY` `[T, ...]`, `next_obs/KEY` likewise (optional), `actions` `[T, A]` and
`rewards` `[T]`. Its `dones` are not used: depending on how a file was made they mark success, the
end of the recording or both, and its environments go on after either. Every episode thus ends with
discount 1, as a truncation. Simulator `states` are not used either.
"""

import os

from eimitate import errors
from eimitate.demonstrations.formats import groups
from eimitate.demonstrations.formats import steps


def read(path: str | os.PathLike, observation_keys: tuple[str, ...]) -> steps.Found:
  """All episodes in numeric order.

  Without `next_obs` an episode loses its last action, whose outcome was not recorded, and is left
  out if it has no other.

  Raises:
    InputError: if the file is damaged or of another schema.
  """
  plain, keyed = ('actions', 'rewards'), ('obs', 'next_obs')
  found, states = groups.read(path, 'data/demo_', plain, keyed, observation_keys, ('states',))
  episodes = {}
  for name, arrays in found:
    errors.check('obs' in arrays, f'robomimic {name}', sorted(arrays), "an episode's obs")
    arrays['observations'] = arrays.pop('obs')
    if 'next_obs' in arrays:
      arrays['next_observations'] = arrays.pop('next_obs')
    episodes[name] = arrays
  return steps.say_states(steps.to_trajectories(episodes), states)
