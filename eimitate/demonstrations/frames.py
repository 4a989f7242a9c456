"""Demonstrations as frames: drawn from their simulator states once, then kept in a cache on disk.

No dataset of images is shipped. A file of the cache is named by everything that its pixels depend
on, so another version, size or dataset draws anew, and a damaged file too.
"""

import dataclasses
import hashlib
from importlib import metadata
import json
import logging
import math
import os
import pathlib

import numpy as np

from eimitate import errors
from eimitate import memory
from eimitate.demonstrations import rendering
from eimitate.demonstrations.dataset import Dataset

# To be raised when `environments.rendering` draws otherwise than before.
_DRAWING = 2


def with_frames(dataset: Dataset, size: int) -> Dataset:
  """The dataset with observations `[T + 1, size, size, 3]` uint8; its vectors are `features`.

  Raises:
    InputError: if it has no simulator states, they do not belong to the task's model, or the frames
      do not fit into memory.
  """
  path = _cache_folder() / f'{_key(dataset, size)}.npz'
  lengths = [len(episode.trajectory.observations) for episode in dataset.episodes]
  shape = sum(lengths), size, size, 3
  _check_fits(shape)
  divide = lambda drawn: np.split(drawn, np.cumsum(lengths)[:-1])
  drawn = _read(path, shape)
  if drawn is None:
    # Joined, what was drawn would be there twice.
    drawn = np.empty(shape, np.uint8)
    for part, shown in zip(divide(drawn), rendering.frames(dataset, size, size), strict=True):
      part[:] = shown
    try:
      _write(path, drawn)
    except OSError as error:
      logging.warning('Frames are not kept and will be drawn again: %s', error)
  episodes = tuple(
    episode._replace(
      trajectory=episode.trajectory._replace(observations=part),
      features=episode.trajectory.observations,
    )
    for episode, part in zip(dataset.episodes, divide(drawn))
  )
  return dataclasses.replace(dataset, episodes=episodes)


def _check_fits(shape):
  count, size = shape[:2]
  needed, free = math.prod(shape), memory.free_bytes()
  gibibytes = lambda number: f'{number / 2**30:.2f} GiB'
  errors.check(
    needed <= free,
    'demonstrations',
    f'{count} frames of {size} x {size}, {gibibytes(needed)}',
    f'at most the {gibibytes(free)} that are free',
  )


def _cache_folder():
  base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(base) / 'eimitate' / 'frames'


def _key(dataset, size):
  shown = hashlib.sha256()
  for episode in dataset.episodes:
    for name, array in {**episode.model_fields, 'states': episode.states}.items():
      shown.update(f'{name} {array.dtype} {array.shape}'.encode() + array.tobytes())
  parts = {
    'task': dataset.metadata.task,
    'episodes': shown.hexdigest(),
    'size': size,
    'drawing': _DRAWING,
    'versions': {name: metadata.version(name) for name in ('mujoco', 'dm_control')},
    'gl': os.environ.get('MUJOCO_GL', ''),
  }
  return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _read(path, shape):
  try:
    with np.load(path, allow_pickle=False) as file:
      drawn, digest = file['frames'], str(file['digest'])
  except Exception:  # No file, or a damaged one, which raises almost anything.
    return None
  good = drawn.shape == shape and drawn.dtype == np.uint8
  return drawn if good and _digest(drawn) == digest else None


def _write(path, drawn):
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(f'.{os.getpid()}.partial')
  try:
    with open(partial, 'wb') as file:
      np.savez_compressed(file, frames=drawn, digest=_digest(drawn))
    os.replace(partial, path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise


def _digest(drawn):
  return hashlib.sha256(np.ascontiguousarray(drawn).data).hexdigest()
