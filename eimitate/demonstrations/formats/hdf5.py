"""HDF5 files: guarded reading, plain writing. Needs h5py, the extra `data`."""

from collections.abc import Mapping
import importlib
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

from eimitate import errors
from eimitate.demonstrations import schema

_CHILD = pathlib.Path(__file__).with_name('hdf5_child.py')
_REFUSED = 3


def read(
  path: str | os.PathLike, pattern: str, unread: str
) -> tuple[dict[str, np.ndarray], list[str]]:
  """The arrays whose names match, in the file's order, and the names of those left unread.

  A child process reads them: the HDF5 library is written in C and a damaged file may crash it,
  keep it busy for ever or make it ask for all memory. The child has limits, and its end is an
  error here.

  Args:
    path: the file.
    pattern: regular expression for the whole of a slash-separated name. It must match the groups
      above an array too; what it does not match is neither entered nor checked.
    unread: likewise, of what `pattern` matches too: arrays that are only to be known of.

  Raises:
    InputError: if h5py is not installed, or the file is not whole, holds anything but numbers under
      a matching name, or links or refers to other places, or is larger than `schema.MOST_BYTES`.
  """
  _check_installed()
  field = 'HDF5 file'
  errors.check(os.path.isfile(path), field, f'no file {path}', 'an HDF5 file')
  with tempfile.TemporaryDirectory() as folder:
    output = os.path.join(folder, 'arrays.npz')
    command = [sys.executable, '-P', str(_CHILD), os.path.abspath(path), pattern, unread, output]
    child = subprocess.run(
      [*command, str(schema.MOST_BYTES)],
      env=_environment(),
      capture_output=True,
      text=True,
      check=False,
    )
    if child.returncode == _REFUSED:
      found, expected = json.loads(child.stdout)
      raise errors.InputError(f'{field}: found {path} with {found}, expected {expected}')
    if child.returncode < 0:
      found = f'{path} that kills its reader with signal {-child.returncode}'
      raise errors.InputError(f'{field}: found {found}, expected a whole HDF5 file')
    if child.returncode:
      raise RuntimeError(f'{_CHILD.name} failed:\n{child.stderr}')
    with np.load(output, allow_pickle=False) as file:
      names, others = json.loads(str(file['arr_0']))
      return {name: file[f'arr_{i + 1}'] for i, name in enumerate(names)}, others


def write(
  path: str | os.PathLike,
  groups: Mapping[str, Mapping[str, np.ndarray]],
  attributes: Mapping[str, Mapping[str, int]],
) -> None:
  """Writes groups of compressed arrays with their attributes, in order.

  Raises:
    InputError: if h5py is not installed.
  """
  _check_installed()
  with importlib.import_module('h5py').File(path, 'w', track_order=True) as file:
    for group_name, arrays in groups.items():
      group = file.create_group(group_name)
      group.attrs.update(attributes[group_name])
      for name, array in arrays.items():
        group.create_dataset(name, data=array, compression='gzip')


def with_parents(names: tuple[str, ...]) -> str:
  """A pattern for slash-separated names and the groups above them."""
  parts = [name.split('/') for name in names]
  all_names = {'/'.join(part[:end]) for part in parts for end in range(1, len(part) + 1)}
  return '|'.join(re.escape(name) for name in sorted(all_names))


def _environment():
  return os.environ | {
    # The child must find what this process found, whatever launched it.
    'PYTHONPATH': os.pathsep.join(path for path in sys.path if path),
    # A file names its filters by number, and HDF5 would load code for them from a path.
    'HDF5_PLUGIN_PRELOAD': '::',
    'OPENBLAS_NUM_THREADS': '1',
  }


def _check_installed():
  found = importlib.util.find_spec('h5py') is not None
  errors.check(found, 'HDF5', 'no h5py', 'it installed: pip install h5py')
