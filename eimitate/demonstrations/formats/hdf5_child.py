"""Reads arrays from an HDF5 file, in a process of its own that the file may ruin.

`python hdf5_child.py PATH PATTERN UNREAD OUTPUT MOST_BYTES` writes the arrays to OUTPUT, an npz,
with the names of those that UNREAD matches. It exits with 3 where it refuses, and prints what it
found and what it expected as JSON.
"""

import contextlib
import json
import math
import os
import re
import resource
import sys

import h5py
import numpy as np

_REFUSED = 3
_DEPTH = 8


class _Refusal(Exception):
  """Arguments: what was found, what was expected."""


def main(path: str, pattern: str, unread: str, output: str, most_bytes: int) -> int:
  """Returns the exit status."""
  _limit(path, most_bytes)
  try:
    with h5py.File(path, 'r') as file:
      names, datasets, others = [], [], []
      for name, dataset in _walk(file, '', re.compile(pattern), set(), 0):
        if re.fullmatch(unread, name):
          others.append(name)
          continue
        _check(name, dataset)
        names.append(name)
        datasets.append(dataset)
      size = sum(dataset.size * max(dataset.dtype.itemsize, 4) for dataset in datasets)
      if size > most_bytes:
        raise _Refusal(f'{size} bytes of arrays', f'at most {most_bytes}')
      arrays = [dataset[()] for dataset in datasets]
      np.savez(output, json.dumps([names, others]), *arrays)
  except _Refusal as refusal:
    print(json.dumps(refusal.args))
    return _REFUSED
  except Exception as error:  # h5py raises almost anything on a damaged file.
    reason = ascii(str(error)).strip('\'"')[:300] or type(error).__name__
    print(json.dumps((f'unreadable ({reason})', 'a whole HDF5 file')))
    return _REFUSED
  return 0


def _limit(path, most_bytes):
  """Memory for the arrays twice over and the library; seconds for any file that ends at all."""
  seconds = 30 + os.path.getsize(path) // 2**20
  with contextlib.suppress(ValueError, OSError):  # Not every system has every limit.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (2 * most_bytes + 2**31,) * 2)


def _walk(group, prefix, pattern, seen, depth):
  """Names and datasets below `group` that `pattern` matches, as every group above them must."""
  address = h5py.h5o.get_info(group.id).addr
  # A few groups that hold each other make more paths than anyone can walk.
  if address in seen or depth > _DEPTH:
    raise _Refusal(f'group {prefix!a} again or too deep', f'each once, at most {_DEPTH} levels')
  seen.add(address)
  for key in group:
    name = prefix + key
    if not pattern.fullmatch(name):
      continue
    link = group.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
      raise _Refusal(f'{name!a}, a {type(link).__name__}', 'data in the file itself')
    item = group[key]
    if isinstance(item, h5py.Group):
      yield from _walk(item, f'{name}/', pattern, seen, depth + 1)
    else:
      yield name, item


def _check(name, item):
  if not isinstance(item, h5py.Dataset) or item.shape is None:
    raise _Refusal(f'{name!a} without data', 'an array')
  if item.is_virtual or item.external:
    raise _Refusal(f'{name!a} with its data in other files', 'data in the file itself')
  if item.dtype.kind not in 'biuf':
    raise _Refusal(f'{name!a} of type {ascii(str(item.dtype))[:100]}', 'numbers')
  if item.chunks and math.prod(item.chunks) * item.dtype.itemsize > 2**30:
    raise _Refusal(f'{name!a} in chunks of shape {item.chunks}', 'at most 1 GiB each')


if __name__ == '__main__':
  sys.exit(main(*sys.argv[1:5], most_bytes=int(sys.argv[5])))
