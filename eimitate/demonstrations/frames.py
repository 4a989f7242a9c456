"""Demonstrations as frames: drawn from their simulator states once, then kept in a cache on disk.

No dataset of images is shipped. A file of the cache is named by everything that its pixels depend
on, so another version, size or dataset draws anew, and a damaged file too.
"""

import dataclasses
import hashlib
from importlib import metadata
import json
import logging
import os
import pathlib

import numpy as np

from eimitate.demonstrations import rendering
from eimitate.demonstrations.dataset import Dataset

# To be raised when `environments.rendering` draws otherwise than before.
_DRAWING = 1


def with_frames(dataset: Dataset, size: int) -> Dataset:
  """The dataset with observations `[T + 1, size, size, 3]` uint8; its vectors are `features`.

  Raises:
    InputError: if it has no simulator states, or they do not belong to the task's model.
  """
  path = _cache_folder() / f'{_key(dataset, size)}.npz'
  lengths = [len(episode.trajectory.observations) for episode in dataset.episodes]
  drawn = _read(path, sum(lengths), size)
  if drawn is None:
    drawn = np.concatenate(list(rendering.frames(dataset, size, size)))
    try:
      _write(path, drawn)
    except OSError as error:
      logging.warning('Frames are not kept and will be drawn again: %s', error)
  parts = np.split(drawn, np.cumsum(lengths)[:-1])
  episodes = tuple(
    episode._replace(
      trajectory=episode.trajectory._replace(observations=part),
      features=episode.trajectory.observations,
    )
    for episode, part in zip(dataset.episodes, parts)
  )
  return dataclasses.replace(dataset, episodes=episodes)


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


def _read(path, count, size):
  try:
    with np.load(path, allow_pickle=False) as file:
      drawn, digest = file['frames'], str(file['digest'])
  except Exception:  # No file, or a damaged one, which raises almost anything.
    return None
  good = drawn.shape == (count, size, size, 3) and drawn.dtype == np.uint8
  return drawn if good and hashlib.sha256(drawn.tobytes()).hexdigest() == digest else None


def _write(path, drawn):
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(f'.{os.getpid()}.partial')
  try:
    with open(partial, 'wb') as file:
      np.savez_compressed(file, frames=drawn, digest=hashlib.sha256(drawn.tobytes()).hexdigest())
    os.replace(partial, path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
