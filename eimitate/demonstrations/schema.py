"""What a dataset of demonstrations must satisfy, on the way in and on the way out."""

from collections.abc import Mapping
import dataclasses
import json
import math

import numpy as np

from eimitate import errors
from eimitate import types

# No file may ask for more than this many bytes of arrays.
MOST_BYTES = 4 * 2**30

ARRAYS = ('observations', 'actions', 'rewards', 'discounts', 'states')


@dataclasses.dataclass(frozen=True)
class Metadata:
  """Where a dataset comes from.

  task: `domain/task`.
  action_repeat: environment steps per action.
  control_timestep: seconds per action.
  provenance: who produced it and how.
  versions: of the packages that the simulation depends on; empty where that is not known.
  seed: of the recording, -1 if it is not known.
  """

  task: str
  action_repeat: int
  control_timestep: float
  provenance: str
  versions: Mapping[str, str]
  seed: int


def parse_metadata(text: str) -> Metadata:
  """Metadata from JSON.

  Raises:
    InputError: if a field is missing, unknown or of a wrong type.
  """
  names = [field.name for field in dataclasses.fields(Metadata)]
  try:
    values = json.loads(text)
  except (ValueError, RecursionError):
    values = None
  found = sorted(values) if isinstance(values, dict) else repr(text[:200])
  errors.check(found == sorted(names), 'demonstrations metadata', found, sorted(names))
  metadata = Metadata(**values)  # pyrefly: ignore
  check_metadata(metadata)
  return metadata


def check_metadata(metadata: Metadata) -> None:
  """Raises `InputError` on a value of a wrong type or range."""
  versions, seconds = metadata.versions, metadata.control_timestep
  items = [x for item in versions.items() for x in item] if isinstance(versions, Mapping) else [0]
  good = {
    'task': (_is_text(metadata.task), 'text'),
    'action_repeat': (_is_integer(metadata.action_repeat, 1), 'an integer from 1'),
    'control_timestep': (
      (isinstance(seconds, float) or _is_integer(seconds, 1)) and 0 < seconds < math.inf,
      'seconds',
    ),
    'provenance': (_is_text(metadata.provenance), 'text'),
    'versions': (all(map(_is_text, items)), 'a version for each package'),
    'seed': (_is_integer(metadata.seed, -1), 'an integer from -1'),
  }
  for name, (condition, expected) in good.items():
    found = ascii(getattr(metadata, name))[:200]
    errors.check(condition, f'demonstrations metadata {name}', found, expected)


def check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
  """Raises `InputError` on a wrong shape, type, range or a value that is not finite."""
  lengths = arrays['lengths']
  _check_lengths(lengths, arrays['rewards'].size)
  rows = {'observations': 1, 'states': 1, 'actions': 0, 'rewards': 0, 'discounts': 0}
  for name, extra in rows.items():
    array, field = arrays[name], f'demonstrations {name}'
    dtype = np.float64 if name == 'states' else np.float32
    errors.check(array.dtype == dtype, field, array.dtype, np.dtype(dtype))
    rank = 1 if name in ('rewards', 'discounts') else 2
    expected = int(lengths.sum()) + extra * len(lengths)
    shape_good = array.ndim == rank and len(array) == expected
    errors.check(shape_good, field, f'shape {array.shape}', f'{expected} rows, rank {rank}')
    _check_finite(field, array)
  width = arrays['observations'].shape[1]
  errors.check(width >= 1, 'demonstrations observations', f'size {width}', 'at least 1')
  largest = float(np.abs(arrays['actions']).max(initial=0))
  errors.check(largest <= 1, 'demonstrations actions', f'magnitude {largest}', 'at most 1')
  discounts = arrays['discounts']
  low, high = float(discounts.min()), float(discounts.max())
  errors.check(0 <= low and high <= 1, 'demonstrations discounts', f'{low} to {high}', '0 to 1')
  early = np.setdiff1d(np.flatnonzero(discounts == 0), np.cumsum(lengths) - 1)
  found = f'0 in row {early[0] if len(early) else 0}'
  errors.check(not len(early), 'demonstrations discounts', found, '0 only at the end of an episode')
  for name in (name for name in arrays if name.startswith('model_')):
    array, field = arrays[name], f'demonstrations {name}'
    errors.check(array.dtype.kind in 'iuf', field, array.dtype, 'numbers')
    shape_good = array.ndim >= 1 and len(array) == len(lengths)
    errors.check(shape_good, field, f'shape {array.shape}', f'{len(lengths)} rows')
    _check_finite(field, array)


def _check_lengths(lengths, most):
  field = 'demonstrations lengths'
  good = lengths.ndim == 1 and lengths.dtype == np.int64 and len(lengths) and lengths.min() >= 1
  found = f'{lengths.dtype} of shape {lengths.shape}'
  errors.check(bool(good), field, found, 'a positive integer (int64) per episode')
  # Before the sum: that of a few huge ones may overflow and look right.
  errors.check(int(lengths.max()) <= most, field, lengths.max(), f'at most the {most} rewards')


def check_episodes(episodes: list[types.Demonstration]) -> None:
  """Raises `InputError` unless the episodes can stand one after another in one dataset."""
  errors.check(len(episodes) > 0, 'demonstrations', 'no episodes', 'at least one')
  first = episodes[0]
  for i, episode in enumerate(episodes):
    steps = len(episode.trajectory.rewards)
    parts = {**episode.trajectory._asdict(), 'states': episode.states}
    wanted = {**first.trajectory._asdict(), 'states': first.states}
    for name, array in parts.items():
      rows = steps + int(name in ('observations', 'states'))
      shape = (rows, *wanted[name].shape[1:])
      errors.check(array.shape == shape, f'episode {i} {name}', f'shape {array.shape}', shape)
    shapes = {name: np.shape(value) for name, value in episode.model_fields.items()}
    expected = {name: np.shape(value) for name, value in first.model_fields.items()}
    errors.check(shapes == expected, f'episode {i} model fields', shapes, expected)


def _check_finite(field, array):
  finite = bool(np.isfinite(array).all())
  errors.check(finite, field, 'NaN or infinite values', 'finite numbers')


def _is_text(value):
  return isinstance(value, str) and not any('\ud800' <= character < '\ue000' for character in value)


def _is_integer(value, least):
  return isinstance(value, int) and not isinstance(value, bool) and value >= least
