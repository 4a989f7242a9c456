"""The dataset of demonstrations: one compressed npz a task.

Episodes stand one after another in each array; `lengths` `[E]` holds their numbers of actions:
`observations` `[sum(T + 1), O]` float32, `actions` `[sum(T), A]` float32 in [-1, 1], `rewards` and
`discounts` `[sum(T)]` float32, `states` `[sum(T + 1), S]` float64 (MuJoCo's integration state, or a
simulation's on device) and `model_NAME` `[E, ...]`. `metadata` is a JSON string with the fields of
`Metadata`.

Where actions are not known `A` is 0, and where the simulator's states are not, `S` is. Rewards that
are not known are zeros. Only an episode's last discount may be 0.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import zipfile

import numpy as np

from eimitate import environments
from eimitate import errors
from eimitate import types
from eimitate.demonstrations import background
from eimitate.demonstrations import schema
from eimitate.demonstrations.schema import Metadata


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

  @property
  def has_actions(self) -> bool:
    """Whether the episodes say what was done, not only what was seen."""
    return self.episodes[0].trajectory.actions.shape[1] > 0

  @property
  def has_rewards(self) -> bool:
    """Whether any reward is not 0: unknown ones are zeros, and zeros alone teach as little."""
    return any(episode.trajectory.rewards.any() for episode in self.episodes)

  @property
  def has_states(self) -> bool:
    """Whether the episodes hold the simulator's states, which a replay needs."""
    return self.episodes[0].states.shape[1] > 0

  def take(self, count: int, field: str = 'config.num_demonstrations') -> 'Dataset':
    """The first `count` episodes.

    Raises:
      InputError: if there are fewer; it names `field`.
    """
    available = len(self.episodes)
    errors.check(1 <= count <= available, field, count, f'1 to {available} episodes')
    return dataclasses.replace(self, episodes=self.episodes[:count])

  def after(self, count: int) -> 'Dataset':
    """The episodes behind the first `count`: maybe none."""
    return dataclasses.replace(self, episodes=self.episodes[count:])


def fingerprint(episode: types.Demonstration) -> str:
  """What an episode is known by in whatever file it lies: eight bytes of its states' digest."""
  return hashlib.sha256(episode.states.tobytes()).hexdigest()[:16]


def shipped_path(task: str, action_repeat: int = 0) -> pathlib.Path:
  """Where the package keeps the demonstrations of `domain/task`.

  A task recorded at several action repeats has a file for each other one, `domain_task_xREPEAT`.

  Raises:
    InputError: if it ships none.
  """
  folder = pathlib.Path(__file__).parent / 'data'
  name = environments.counterpart(task).replace('/', '_')
  path = folder / f'{name}_x{action_repeat}.npz'
  path = path if path.is_file() else folder / f'{name}.npz'
  shipped = ', '.join(sorted(file.stem for file in folder.glob('*.npz')))
  errors.check(
    path.is_file(),
    'demonstrations',
    f'none shipped for task {task!r}',
    f'--config.demonstrations=FILE.npz, or a task among {shipped}',
  )
  return path


def save(path: str | os.PathLike, metadata: Metadata, episodes: list[types.Demonstration]) -> None:
  """Writes a dataset: to a temporary name first, then renamed.

  Raises:
    InputError: if metadata or episodes are not of this schema; nothing is written then.
  """
  schema.check_metadata(metadata)
  schema.check_episodes(episodes)
  trajectories = [episode.trajectory for episode in episodes]
  arrays = {
    name: np.concatenate([getattr(trajectory, name) for trajectory in trajectories])
    for name in types.Trajectory._fields
  }
  arrays['states'] = np.concatenate([episode.states for episode in episodes])
  arrays['lengths'] = np.array([len(trajectory.actions) for trajectory in trajectories], np.int64)
  for name in episodes[0].model_fields:
    arrays[f'model_{name}'] = np.stack([episode.model_fields[name] for episode in episodes])
  schema.check_arrays(arrays)
  _check_size(path, sum(array.nbytes for array in arrays.values()))
  text = json.dumps(dataclasses.asdict(metadata), sort_keys=True)
  checksum = _checksum(arrays, text)
  temporary = pathlib.Path(f'{path}.partial')
  try:
    with open(temporary, 'wb') as file:
      np.savez_compressed(file, metadata=text, checksum=checksum, **arrays)
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


def load(path: str | os.PathLike) -> Dataset:
  """Reads and checks a dataset.

  Raises:
    InputError: if the file is missing, truncated, corrupted or not of this schema, or if an array
      has a wrong shape, type, range or a value that is not finite.
  """
  errors.check(os.path.isfile(path), 'demonstrations', f'no file {path}', 'an npz dataset')
  arrays, text, checksum = _read(path)
  found = _checksum(arrays, text)
  expected = ascii(checksum[:64])
  errors.check(found == checksum, 'demonstrations', f'{path} with checksum {found}', expected)
  schema.check_arrays(arrays)
  return Dataset(schema.parse_metadata(text), _split(arrays), checksum)


def with_statistics(dataset: Dataset, spec: types.EnvironmentSpec) -> types.EnvironmentSpec:
  """`spec` with mean and standard deviation of the demonstrations' observations.

  A part that hardly moves keeps at least a hundredth of the largest deviation. Of frames: their
  background, in [0, 1], and one deviation, of pixels from it.
  """
  rows = np.concatenate([episode.trajectory.observations for episode in dataset.episodes])
  if spec.frame:
    still = background.background(rows)
    scale = np.sqrt(np.mean([np.square(row - still).mean() for row in rows])) / 255 or 1.0
    return spec._replace(
      observation_mean=tuple((still / 255).round(4).ravel().tolist()),
      observation_scale=(round(float(scale), 6),),
    )
  deviation = rows.std(0, dtype=np.float64)
  scale = np.maximum(deviation, 0.01 * deviation.max())
  return spec._replace(
    observation_mean=tuple(rows.mean(0, dtype=np.float64).tolist()),
    observation_scale=tuple(np.where(scale > 0, scale, 1.0).tolist()),
  )


def check_matches(
  dataset: Dataset,
  task: str,
  action_repeat: int,
  spec: types.EnvironmentSpec,
  needs_actions: bool = True,
  needs_rewards: bool = False,
) -> None:
  """Raises `InputError` unless the dataset was recorded in this task with this repeat.

  Args:
    dataset: the demonstrations.
    task, action_repeat, spec: the environment's.
    needs_actions: whether demonstrations without actions are refused too.
    needs_rewards: whether those without rewards are.
  """
  metadata = dataset.metadata
  same = environments.counterpart(metadata.task) == environments.counterpart(task)
  errors.check(same, 'demonstrations task', repr(metadata.task), repr(task))
  errors.check(
    metadata.action_repeat == action_repeat,
    'action repeat',
    f'{action_repeat} for the environment',
    f"the demonstrations' {metadata.action_repeat}",
  )
  errors.check(
    dataset.has_actions or not needs_actions,
    'demonstrations actions',
    'none',
    'demonstrations with actions, which the agent clones',
  )
  errors.check(
    dataset.has_rewards or not needs_rewards,
    'demonstrations rewards',
    'zeros alone, as where none are known',
    'recorded rewards, which the agent learns from',
  )
  trajectory = dataset.episodes[0].trajectory
  # Frames are drawn from the states, whatever was observed.
  sizes = {} if spec.frame else {'observations': spec.observation_size}
  if dataset.has_actions:
    sizes['actions'] = spec.action_size
  for name, size in sizes.items():
    found = getattr(trajectory, name).shape[1]
    errors.check(found == size, f'demonstrations {name}', f'size {found}', f"the task's {size}")


def _read(path):
  try:
    _check_declared(path)
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    required = {*schema.ARRAYS, 'lengths', 'metadata', 'checksum'}
    missing = sorted(required - set(arrays))
    errors.check(not missing, 'demonstrations', f'{path} without {missing}', sorted(required))
    text, checksum = str(arrays.pop('metadata')), str(arrays.pop('checksum'))
    text.encode()
    return arrays, text, checksum
  except errors.InputError:
    raise
  except Exception as error:  # Damaged zip files raise almost anything.
    raise errors.InputError(
      f'demonstrations: found {path} unreadable ({error}), expected a whole npz dataset'
    ) from error


def _check_declared(path):
  """Against archives that unpack to more than they weigh, by what their directory says."""
  with zipfile.ZipFile(path) as archive:
    entries = archive.infolist()
    _check_size(path, sum(entry.file_size for entry in entries))
    for entry in entries:
      with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        old = version == (1, 0)
        header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
      # NumPy makes room for what the header says before it reads any of it.
      errors.check(
        math.prod(shape) * dtype.itemsize <= entry.file_size,
        'demonstrations',
        f'{path} with {entry.filename!a} shorter than its shape {shape}',
        'a whole npz dataset',
      )


def _check_size(path, size):
  errors.check(
    size <= schema.MOST_BYTES,
    'demonstrations',
    f'{path} with {size} bytes of arrays',
    f'at most {schema.MOST_BYTES}',
  )


def _split(arrays):
  lengths = arrays['lengths']
  ends = {0: np.cumsum(lengths)[:-1], 1: np.cumsum(lengths + 1)[:-1]}
  parts = {
    name: np.split(arrays[name], ends[int(name in ('observations', 'states'))])
    for name in schema.ARRAYS
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


def _checksum(arrays, text):
  digest = hashlib.sha256(text.encode())
  for name in sorted(arrays):
    array = np.ascontiguousarray(arrays[name])
    digest.update(f'{name} {array.dtype} {array.shape}'.encode())
    digest.update(array.tobytes())
  return digest.hexdigest()
