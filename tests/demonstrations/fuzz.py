"""Damages valid files of every format, imports them and replays ours, for as long as one likes.

python -m tests.demonstrations.fuzz --minutes=10 --seed=0

What reads a file may accept it or raise `InputError` or `OSError`; anything else is a crash, is
kept in `--keep` and makes the exit status 1.
"""

import argparse
import collections
import contextlib
import functools
import io
import json
import logging
import pathlib
import pickle
import sys
import tempfile
import time
import traceback

import h5py
import numpy as np

from eimitate import demonstrations
from eimitate import errors
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.demonstrations import import_command
from eimitate.demonstrations import verification
from tests.demonstrations import sources

# HDF5 knows no order of an observation's parts.
KEYS = {'robomimic': ('position', 'velocity')}
# The target that replays; all others are formats to import.
VERIFY = 'verify'
_TASKS = ('cartpole/swingup', 'reacher/easy', 'finger/spin', 'hopper/hop', 'jaco/stack')


def read(name, path, actions='drop'):
  """Imports a file and loads what was written, or replays one of ours."""
  if name == VERIFY:
    verification.verify(demonstrations.load(path))
    return
  parser, output = argparse.ArgumentParser(), path.with_name('output.npz')
  import_command.add_arguments(parser)
  options = ['--task=cartpole/swingup', '--control_timestep=0.1', f'--actions={actions}']
  keys = ','.join(KEYS.get(name, ()))
  arguments = [name, str(path), f'--output={output}', f'--observation_keys={keys}', *options]
  with contextlib.redirect_stdout(io.StringIO()):
    import_command.run(parser.parse_args(arguments))
  demonstrations.load(output)


def damage(rng, whole):
  """A file's bytes with some changed, cut, repeated, moved or set to a number's extremes."""
  data = bytearray(whole)
  for _ in range(rng.choice([1, 1, 2, 4, 16])):
    kind, start = rng.integers(6), int(rng.integers(len(data) or 1))
    size = int(rng.choice([1, 2, 4, 8, 64]))
    if kind <= 1:
      data[start : start + 1] = rng.integers(0, 256, 1, np.uint8).tobytes()
    elif kind == 2:
      data[start : start + size] = bytes([rng.choice([0, 255, 127, 128])]) * size
    elif kind == 3:
      data[start : start + size] = b''
    elif kind == 4:
      data[start:start] = data[int(rng.integers(len(data) or 1)) :][:size]
    elif rng.random() < 0.2:
      data = data[:start]
  return bytes(data)


def _value(rng, depth=0):
  """Anything that a pickle, an array file or a group may hold where numbers belong."""
  shape = tuple(rng.integers(0, 5, rng.integers(0, 4)))
  dtype = rng.choice(['f4', 'f8', 'i8', 'u1', '?', 'f2', '>f8', 'c8', 'U3', 'S3', 'M8[s]', 'i1'])
  choices = [
    lambda: (rng.normal(size=shape) * 10.0 ** rng.integers(-3, 50)).astype(dtype),
    lambda: np.full(shape, rng.choice([np.nan, np.inf, 1e300, 2.0**62])).astype('f8'),
    lambda: np.array([{'a': 1}, None], object),
    lambda: int(rng.integers(-9, 9)) ** 99,
    lambda: None,
    lambda: 'text',
    lambda: [_value(rng, depth + 1)] * 3 if depth < 3 else [],
    lambda: {'observations': _value(rng, depth + 1)} if depth < 3 else {},
  ]
  with np.errstate(all='ignore'):
    return choices[rng.choice(len(choices), p=[0.6, 0.1, *[0.05] * 6])]()


def _change(rng, arrays):
  """Some entries cut, replaced, removed, widened, given to another name or with other numbers."""
  arrays = dict(arrays)
  for _ in range(rng.integers(1, 4)):
    name, other = rng.choice(list(arrays), 2)
    kind = rng.integers(7)
    if kind == 0:
      arrays[name] = _value(rng)
    elif kind == 1 and len(arrays) > 1:
      del arrays[name]
    elif kind == 2:
      arrays[name] = arrays[other]
    elif kind == 3 and isinstance(arrays[name], np.ndarray) and arrays[name].ndim:
      arrays[name] = arrays[name][: rng.integers(len(arrays[name]) + 1)]
    elif kind == 4 and np.ndim(arrays[name]) > 1:
      arrays[name] = np.repeat(arrays[name], 2, axis=1)
    elif kind >= 5:
      arrays[name] = _with_other_numbers(rng, arrays[name])
    elif isinstance(arrays[name], np.ndarray):
      dtype = rng.choice(['f8', 'f2', 'i4', 'u1', '?', '>f4'])
      with np.errstate(all='ignore'):
        arrays[name] = arrays[name].astype(dtype) if arrays[name].dtype.kind in 'biuf' else 0
  return arrays


def _with_other_numbers(rng, array):
  """Of the same shape and type; one of them is changed, or many."""
  if not np.size(array) or np.asarray(array).dtype.kind not in 'biuf':
    return array
  array = np.array(array)
  chosen = rng.random(array.shape) < rng.choice([0.01, 0.5])
  chosen.flat[rng.integers(array.size)] = True
  with np.errstate(all='ignore'):
    array[chosen] = np.float64(rng.choice([0, 1, -1, 9, 1e4, 1e6, -1e11, 1e38, 1e300])).astype(
      array.dtype
    )
  return array


def _change_metadata(rng, text):
  """Another value in one field, or bytes damaged."""
  if rng.random() < 0.2:
    return damage(rng, text.encode()).decode(errors='replace')
  values = json.loads(text)
  choices = [*_TASKS, 'lqr/lqr_2_1', 'brax/ant', 1, 2, 10**9, 10**400, 0.02, 1e300]
  values[rng.choice(list(values))] = choices[rng.integers(len(choices))]
  return json.dumps(values)


@functools.cache
def _shipped(task):
  """A few first steps of two shipped episodes."""
  dataset = demonstrations.load(demonstrations.shipped_path(task))
  first = lambda x: types.Trajectory(x.observations[:5], *(array[:4] for array in x[1:]))
  episodes = [
    episode._replace(trajectory=first(episode.trajectory), states=episode.states[:5])
    for episode in dataset.episodes[:2]
  ]
  return dataset.metadata, episodes


def write(rng, name, path):
  """A valid file."""
  if name == VERIFY:
    demonstrations.save(path, *_shipped(str(rng.choice(_TASKS))))
  else:
    sources.write(name, path)


def _build_hdf5(rng, path, arrays):
  with h5py.File(path, 'w') as file:
    for name, value in _change(rng, arrays).items():
      try:
        kwargs = (
          {'chunks': True, 'compression': 'gzip'} if np.ndim(value) and np.size(value) else {}
        )
        file.create_dataset(name, data=value, **kwargs)
      except (TypeError, ValueError, OverflowError):
        file.create_group(name)
    if rng.random() < 0.2:
      group = file[rng.choice(list(file))]
      group = group if isinstance(group, h5py.Group) else file
      targets = [h5py.SoftLink('/'), h5py.ExternalLink('other.h5', '/'), group]
      name = str(rng.choice(['observations', 'observations/a', 'obs/z', 'actions']))
      with contextlib.suppress(
        OSError, RuntimeError, ValueError
      ):  # The name is taken, or below an array.
        group[name] = targets[rng.choice(3)]


def build(rng, name, path):
  """A file of the format with a wrong structure."""
  episodes = sources.trajectories(rng.integers(1, 5, rng.integers(1, 4)), int(rng.integers(99)))
  if name == 'pickle':
    dicts = [_change(rng, arrays) for arrays in sources.episode_dicts(episodes)]
    value = [dicts, tuple(dicts), _change(rng, sources.flat_arrays(episodes)), _value(rng)]
    protocol = int(rng.integers(0, pickle.HIGHEST_PROTOCOL + 1))
    path.write_bytes(pickle.dumps(value[rng.choice(4)], protocol))
  elif name in ('npz', VERIFY):
    write(rng, name, path)
    with np.load(path) as file:
      arrays = {key: file[key] for key in file.files if key != 'checksum'}
    text = str(arrays.pop('metadata'))
    if rng.random() < 0.3:
      text = _change_metadata(rng, text)
    if name == 'npz':
      arrays['model_mass'] = np.ones((len(arrays['lengths']), 2))
    if name == VERIFY and rng.random() < 0.5:  # Whole, and what is simulated is not.
      wrong = rng.choice([key for key in arrays if key.startswith(('states', 'model_'))], 2)
      arrays |= {key: _with_other_numbers(rng, arrays[key]) for key in wrong}
    else:
      arrays = _change(rng, arrays)
    arrays = {key: np.asarray(value) for key, value in arrays.items()}
    with open(path, 'wb') as file:
      checksum = dataset_lib._checksum(arrays, text)
      np.savez(file, metadata=text, checksum=checksum, allow_pickle=True, **arrays)
  else:
    maker = {
      'minari': sources.minari_arrays,
      'd4rl': sources.flat_arrays,
      'robomimic': sources.robomimic_arrays,
    }
    _build_hdf5(rng, path, maker[name](episodes))


def main(argv=None):
  parser = argparse.ArgumentParser(prog='python -m tests.demonstrations.fuzz')
  parser.add_argument('--minutes', type=float, default=1)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--formats', default=','.join([*sources.FORMATS, VERIFY]))
  parser.add_argument('--keep', default='', help='a directory for the files that crash a reader')
  arguments = parser.parse_args(argv)
  logging.disable(logging.WARNING)  # MuJoCo's, on every unstable state.
  rng = np.random.default_rng(arguments.seed)
  names, counts = arguments.formats.split(','), collections.Counter()
  end = time.monotonic() + 60 * arguments.minutes
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'input'
    while time.monotonic() < end:
      name, actions = str(rng.choice(names)), str(rng.choice(['clip', 'drop']))
      if rng.random() < 0.5:
        write(rng, name, path)
        path.write_bytes(damage(rng, path.read_bytes()))
      else:
        build(rng, name, path)
      counts[name, _try(name, path, actions, arguments.keep, sum(counts.values()))] += 1
  for name in names:
    accepted, refused, crashes = (counts[name, key] for key in ('accepted', 'refused', 'crashes'))
    total = accepted + refused + crashes
    print(f'{name}: {total} inputs, {accepted} accepted, {refused} refused, {crashes} crashes')
  return int(any(counts[name, 'crashes'] for name in names))


def _try(name, path, actions, keep, number):
  try:
    read(name, path, actions)
  except (errors.InputError, OSError) as error:
    if 'kills its reader' in str(error):
      print(f'input {number}: {error}')
    if '\n' in str(error):
      print(f'input {number}, {name}: a message of several lines: {error!r}')
      return 'crashes'
    return 'refused'
  except BaseException as error:
    if isinstance(error, KeyboardInterrupt):
      raise
    print(f'input {number}, {name}, --actions={actions}:')
    traceback.print_exc(file=sys.stdout)
    if keep:
      (pathlib.Path(keep) / f'{name}_{number}').write_bytes(path.read_bytes())
    return 'crashes'
  return 'accepted'


if __name__ == '__main__':
  sys.exit(main())
