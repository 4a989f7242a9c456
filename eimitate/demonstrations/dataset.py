"""The dataset of demonstrations: one compressed npz a task.

Episodes stand one after another in each array; `lengths` `[E]` holds their numbers of actions:
`observations` `[sum(T + 1), O]` float32, `actions` `[sum(T), A]` float32 in [-1, 1], `rewards` and
`discounts` `[sum(T)]` float32, `states` `[sum(T + 1), S]` float64 (MuJoCo's integration state) and
`model_NAME` `[E, ...]`. `metadata` is a JSON string with the fields of `Metadata`.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
import pathlib

import numpy as np

from eimitate import errors
from eimitate import types


@dataclasses.dataclass(frozen=True)
class Metadata:
  """Where a dataset comes from.

  task: `domain/task`.
  action_repeat: environment steps per action.
  control_timestep: seconds per action.
  provenance: who produced it and how.
  versions: of the packages that the simulation depends on.
  seed: of the recording, -1 if it is not known.
  """

  task: str
  action_repeat: int
  control_timestep: float
  provenance: str
  versions: Mapping[str, str]
  seed: int


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Episodes of one task with their metadata and the checksum of all of it."""

  metadata: Metadata
  episodes: tuple[types.Demonstration, ...]
  checksum: str

  @property
  def mean_return(self) -> float:
    """Mean over episodes of the undiscounted sum of rewards."""
    return float(np.mean([episode.trajectory.rewards.sum() for episode in self.episodes]))

  def take(self, count: int) -> 'Dataset':
    """The first `count` episodes.

    Raises:
      InputError: if there are fewer.
    """
    available = len(self.episodes)
    errors.check(
      1 <= count <= available, 'config.num_demonstrations', count, f'1 to {available} episodes'
    )
    return dataclasses.replace(self, episodes=self.episodes[:count])


_ARRAYS = ('observations', 'actions', 'rewards', 'discounts', 'states')


def shipped_path(task: str) -> pathlib.Path:
  """Where the package keeps the demonstrations of `domain/task`.

  Raises:
    InputError: if it ships none.
  """
  folder = pathlib.Path(__file__).parent / 'data'
  path = folder / f'{task.replace("/", "_")}.npz'
  shipped = ', '.join(sorted(file.stem for file in folder.glob('*.npz')))
  errors.check(
    path.is_file(),
    'demonstrations',
    f'none shipped for task {task!r}',
    f'--config.demonstrations=FILE.npz, or a task among {shipped}',
  )
  return path


def save(path: str | os.PathLike, metadata: Metadata, episodes: list[types.Demonstration]) -> None:
  """Writes a dataset: to a temporary name first, then renamed."""
  trajectories = [episode.trajectory for episode in episodes]
  arrays = {
    name: np.concatenate([getattr(trajectory, name) for trajectory in trajectories])
    for name in types.Trajectory._fields
  }
  arrays['states'] = np.concatenate([episode.states for episode in episodes])
  arrays['lengths'] = np.array([len(trajectory.actions) for trajectory in trajectories], np.int64)
  for name in episodes[0].model_fields:
    arrays[f'model_{name}'] = np.stack([episode.model_fields[name] for episode in episodes])
  text = json.dumps(dataclasses.asdict(metadata), sort_keys=True)
  checksum = _checksum(arrays, text)
  temporary = pathlib.Path(f'{path}.partial')
  with open(temporary, 'wb') as file:
    np.savez_compressed(file, metadata=text, checksum=checksum, **arrays)
  os.replace(temporary, path)


def load(path: str | os.PathLike) -> Dataset:
  """Reads and checks a dataset.

  Raises:
    InputError: if the file is missing, truncated, corrupted or not of this schema, or if an array
      has a wrong shape, type, range or a value that is not finite.
  """
  errors.check(os.path.isfile(path), 'demonstrations', f'no file {path}', 'an npz dataset')
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
  except Exception as error:  # Damaged zip files raise almost anything.
    raise errors.InputError(
      f'demonstrations: found {path} unreadable ({error}), expected a whole npz dataset'
    ) from error
  required = {*_ARRAYS, 'lengths', 'metadata', 'checksum'}
  missing = sorted(required - set(arrays))
  errors.check(not missing, 'demonstrations', f'{path} without {missing}', sorted(required))
  text, checksum = str(arrays.pop('metadata')), str(arrays.pop('checksum'))
  found = _checksum(arrays, text)
  errors.check(found == checksum, 'demonstrations', f'{path} with checksum {found}', checksum)
  _check_arrays(arrays)
  return Dataset(_parse_metadata(text), _split(arrays), checksum)


def with_statistics(dataset: Dataset, spec: types.EnvironmentSpec) -> types.EnvironmentSpec:
  """`spec` with mean and standard deviation of the demonstrations' observations.

  A part that hardly moves keeps at least a hundredth of the largest deviation.
  """
  rows = np.concatenate([episode.trajectory.observations for episode in dataset.episodes])
  deviation = rows.std(0, dtype=np.float64)
  scale = np.maximum(deviation, 0.01 * deviation.max())
  return spec._replace(
    observation_mean=tuple(rows.mean(0, dtype=np.float64).tolist()),
    observation_scale=tuple(np.where(scale > 0, scale, 1.0).tolist()),
  )


def check_matches(
  dataset: Dataset, task: str, action_repeat: int, spec: types.EnvironmentSpec
) -> None:
  """Raises `InputError` unless the dataset was recorded in this task with this repeat."""
  metadata = dataset.metadata
  errors.check(metadata.task == task, 'demonstrations task', repr(metadata.task), repr(task))
  errors.check(
    metadata.action_repeat == action_repeat,
    'action repeat',
    f'{action_repeat} for the environment',
    f"the demonstrations' {metadata.action_repeat}",
  )
  trajectory = dataset.episodes[0].trajectory
  sizes = {'observations': spec.observation_size, 'actions': spec.action_size}
  for name, size in sizes.items():
    found = getattr(trajectory, name).shape[1]
    errors.check(found == size, f'demonstrations {name}', f'size {found}', f"the task's {size}")


def _check_arrays(arrays):
  lengths = arrays['lengths']
  good = lengths.ndim == 1 and lengths.dtype.kind == 'i' and len(lengths) and lengths.min() >= 1
  errors.check(bool(good), 'demonstrations lengths', lengths, 'a positive integer per episode')
  rows = {'observations': 1, 'states': 1, 'actions': 0, 'rewards': 0, 'discounts': 0}
  for name, extra in rows.items():
    array, field = arrays[name], f'demonstrations {name}'
    dtype = np.float64 if name == 'states' else np.float32
    errors.check(array.dtype == dtype, field, array.dtype, np.dtype(dtype))
    rank = 1 if name in ('rewards', 'discounts') else 2
    expected = int(lengths.sum()) + extra * len(lengths)
    shape_good = array.ndim == rank and len(array) == expected
    errors.check(shape_good, field, f'shape {array.shape}', f'{expected} rows, rank {rank}')
    finite = bool(np.isfinite(array).all())
    errors.check(finite, field, 'NaN or infinite values', 'finite numbers')
  largest = float(np.abs(arrays['actions']).max())
  errors.check(largest <= 1, 'demonstrations actions', f'magnitude {largest}', 'at most 1')


def _split(arrays):
  lengths = arrays['lengths']
  ends = {0: np.cumsum(lengths)[:-1], 1: np.cumsum(lengths + 1)[:-1]}
  parts = {
    name: np.split(arrays[name], ends[int(name in ('observations', 'states'))]) for name in _ARRAYS
  }
  fields = [name for name in arrays if name.startswith('model_')]
  return tuple(
    types.Demonstration(
      types.Trajectory(*(parts[name][i] for name in types.Trajectory._fields)),
      parts['states'][i],
      {name.removeprefix('model_'): arrays[name][i] for name in fields},
    )
    for i in range(len(lengths))
  )


def _parse_metadata(text):
  names = [field.name for field in dataclasses.fields(Metadata)]
  try:
    values = json.loads(text)
  except json.JSONDecodeError:
    values = None
  found = sorted(values) if isinstance(values, dict) else repr(text)
  errors.check(found == sorted(names), 'demonstrations metadata', found, sorted(names))
  return Metadata(**values)  # pyrefly: ignore


def _checksum(arrays, text):
  digest = hashlib.sha256(text.encode())
  for name in sorted(arrays):
    array = np.ascontiguousarray(arrays[name])
    digest.update(f'{name} {array.dtype} {array.shape}'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()
