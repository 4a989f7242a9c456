"""Minari's datasets in HDF5 (https://minari.farama.org), read and written without Minari.

`main_data.hdf5` holds `episode_i/observations` `[T + 1, ...]`, an array or a group of arrays,
`actions` `[T, A]`, `rewards`, `terminations` and `truncations` `[T]`; `metadata.json` beside it
describes them. Simulator states, `infos/qpos` and `infos/qvel`, are not used.
"""

import json
import math
import os
import pathlib
import re
import shutil

import numpy as np

from eimitate import errors
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.demonstrations.formats import groups
from eimitate.demonstrations.formats import hdf5
from eimitate.demonstrations.formats import steps

_FILE = 'main_data.hdf5'
# Of the schema that `write` follows.
_VERSION = '0.5.4'


def find(path: str | os.PathLike) -> pathlib.Path:
  """The HDF5 file of a dataset: itself, or in a dataset's directory or that one's `data`.

  Raises:
    InputError: if there is none.
  """
  path = pathlib.Path(path)
  candidates = [path, path / _FILE, path / 'data' / _FILE]
  for candidate in candidates:
    if candidate.is_file():
      return candidate
  expected = f'an HDF5 file, or a directory with data/{_FILE}'
  raise errors.InputError(f'minari: found no {_FILE} at {path}, expected {expected}')


def read(path: str | os.PathLike, observation_keys: tuple[str, ...]) -> steps.Found:
  """All episodes in numeric order; a truncation has discount 1.

  Raises:
    InputError: if the file is damaged or of another schema.
  """
  plain, keyed = ('actions', 'rewards', 'terminations'), ('observations',)
  episodes, states = groups.read(
    find(path), 'episode_', plain, keyed, observation_keys, steps.STATES
  )
  for name, arrays in episodes:
    expected = "an episode's observations and terminations"
    complete = {'observations', 'terminations'} <= set(arrays)
    errors.check(complete, f'minari {name}', sorted(arrays), expected)
  return steps.say_states(steps.to_trajectories(dict(episodes), cut=()), states)


def write(path: str | os.PathLike, dataset: dataset_lib.Dataset) -> str:
  """Writes the directory `path/data` that `minari.MinariDataset` loads.

  It is written under a temporary name and then renamed.

  Returns:
    A few words on what of the dataset is not in it.

  Raises:
    InputError: if `path` exists, or the demonstrations have no actions or discounts other than 0
      and 1.
  """
  path = pathlib.Path(path)
  errors.check(not path.exists(), 'output', f'{path}, which exists', 'a new directory')
  parent = path.absolute().parent
  errors.check(parent.is_dir(), 'output', f'no directory {parent}', 'one that exists')
  errors.check(
    dataset.has_actions, 'demonstrations actions', 'none', "Minari's schema with actions"
  )
  discounts = {x for episode in dataset.episodes for x in episode.trajectory.discounts.tolist()}
  other = sorted(discounts - {0.0, 1.0})
  expected = "0 and 1: Minari's schema has terminations"
  errors.check(not other, 'demonstrations discounts', other[:1], expected)
  arrays, attributes = {}, {}
  for i, episode in enumerate(dataset.episodes):
    arrays[f'episode_{i}'] = _to_arrays(episode.trajectory)
    attributes[f'episode_{i}'] = {'id': i, 'total_steps': len(episode.trajectory.actions)}
  temporary = pathlib.Path(f'{path}.partial')
  data = temporary / 'data'
  try:
    data.mkdir(parents=True)
    hdf5.write(data / _FILE, arrays, attributes)
    size = round((data / _FILE).stat().st_size / 1e6, 1)
    (data / 'metadata.json').write_text(json.dumps(_describe(dataset, size)))
    temporary.rename(path)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise
  parts = {
    'simulator states': dataset.has_states,
    'model fields': dataset.episodes[0].model_fields,
    'control timestep, versions and seed': True,
  }
  return f'{", ".join(name for name, present in parts.items() if present)} left out'


def _to_arrays(trajectory):
  terminations = trajectory.discounts == 0
  truncations = np.zeros_like(terminations)
  truncations[-1] = not terminations[-1]
  return {
    'observations': trajectory.observations,
    'actions': trajectory.actions,
    'rewards': trajectory.rewards,
    'terminations': terminations,
    'truncations': truncations,
  }


def _describe(dataset, size):
  metadata, trajectory = dataset.metadata, dataset.episodes[0].trajectory
  name = re.sub(r'[^-\w]', '_', metadata.task)
  return {
    'dataset_id': f'eimitate/{name}-v0',
    'minari_version': _VERSION,
    'data_format': 'hdf5',
    'jpeg_encoding': False,
    'total_episodes': len(dataset.episodes),
    'total_steps': sum(len(episode.trajectory.actions) for episode in dataset.episodes),
    'dataset_size': size,
    'description': f'{metadata.task}, repeat {metadata.action_repeat}, {metadata.provenance}',
    'observation_space': _box(trajectory.observations.shape[1], math.inf),
    'action_space': _box(trajectory.actions.shape[1], 1.0),
  }


def _box(size, limit):
  box = {'type': 'Box', 'dtype': 'float32', 'shape': [size]}
  return json.dumps(box | {'low': [-limit] * size, 'high': [limit] * size})
