"""HDF5 files with one group per episode, whose observations may be groups of parts."""

from collections.abc import Mapping
import os

import numpy as np

from eimitate import errors
from eimitate.demonstrations.formats import hdf5
from eimitate.demonstrations.formats import steps

_Parts = Mapping[str, np.ndarray]


def read(
  path: str | os.PathLike,
  stem: str,
  plain: tuple[str, ...],
  keyed: tuple[str, ...],
  observation_keys: tuple[str, ...],
  unread: tuple[str, ...],
) -> tuple[list[tuple[str, dict[str, np.ndarray]]], bool]:
  """Names and arrays of the episodes, in numeric order; a group without arrays is none.

  Also whether there is an array that is left unread.

  Args:
    path: the file.
    stem: what stands before the number in the name of an episode's group, `data/demo_`.
    plain: names of arrays in it.
    keyed: names of arrays, or of groups of arrays `[T, ...]`, which are joined to `[T, O]`.
    observation_keys: slash-separated names of the parts in a keyed group, in this order; empty
      where there is one.
    unread: slash-separated names of arrays in an episode's group that are only to be known of.

  Raises:
    InputError: if the file is damaged, a part is missing, or there are several and no order: HDF5
      has them by name, environments otherwise.
  """
  parent = stem.rpartition('/')[0]
  below = hdf5.with_parents(observation_keys) if observation_keys else '.+'
  others, episode = hdf5.with_parents(unread), f'{stem}[0-9]{{1,9}}'
  inside = f'({"|".join(keyed)})(/({below}))?|({"|".join(plain)})(/.+)?|{others}'
  found, left = hdf5.read(path, f'(?s){parent}|{episode}(/({inside}))?', f'{episode}/({others})')
  episodes: dict[int, dict[str, dict[str, np.ndarray]]] = {}
  names = {}
  for name, array in found.items():
    errors.check(name.startswith(stem), ascii(name), 'an array', 'a group')
    number, _, rest = name.removeprefix(stem).partition('/')
    field, _, part = rest.partition('/')
    known = names.setdefault(int(number), stem + number)
    errors.check(known == stem + number, known, f'also {stem + number}', 'a number once')
    episodes.setdefault(int(number), {}).setdefault(field, {})[part] = array
  numbers = sorted(episodes)
  first = episodes[numbers[0]] if numbers else {}
  parts = observation_keys or tuple(first.get(keyed[0], ()))
  expected = f'{ascii(",".join(parts))[:300]} or some of them, in the order of the environment'
  errors.check(bool(observation_keys) or len(parts) < 2, '--observation_keys', 'none', expected)
  order = dict.fromkeys(keyed, parts)
  return [(names[i], _join(names[i], episodes[i], order)) for i in numbers], bool(left)


def _join(where, fields, order):
  joined = {}
  for field, parts in fields.items():
    if field in order:
      joined[field] = _join_parts(f'{where}/{field}', parts, order[field])
    else:
      errors.check(set(parts) == {''}, f'{where}/{field}', 'a group', 'an array')
      joined[field] = parts['']
  return joined


def _join_parts(where, parts: _Parts, keys):
  missing = [key for key in keys if key not in parts]
  errors.check(not missing, where, _names(parts), f'all of {_names(keys)}')
  errors.check(len(parts) == len(keys), where, _names(parts), f'only {_names(keys)}')
  if tuple(keys) == ('',):
    return parts['']
  steps.check_rows(where, parts)
  for key in keys:
    shape = parts[key].shape
    good = len(shape) >= 2 and parts[key].size > 0
    errors.check(good, f'{where}/{key}', f'shape {shape}', 'rows, rank 2 or more')
  return np.concatenate([parts[key].reshape(len(parts[key]), -1) for key in keys], axis=1)


def _names(parts):
  return ascii([part or 'one array without parts' for part in parts])[:300]
