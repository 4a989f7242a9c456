"""The only orbax import: whole runs saved and restored.

A step holds the items `params` (what acting needs), `learner`, `replay`, `meta` (counters, key),
`config` (everything that rebuilds the agent) and `digest` (checksums of the others, and how good
the step is). Evaluation reads no more arrays than `params`. A save is atomic, and goes on in the
background.
"""

from collections.abc import Callable, Mapping
import contextlib
import hashlib
import json
import logging
import os
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp

from eimitate import errors

_FOLDER = 'checkpoints'
# What a step is called while another one of its number is written.
_REPLACED = '.replaced'
_ARRAYS, _JSON = ('params', 'learner', 'replay'), ('meta', 'config')


class Checkpoints:
  """The checkpoints of one work directory; a step's number is its agent steps."""

  def __init__(self, workdir: str | os.PathLike, keep: int = 2, reading: bool = False):
    """Opens the folder `checkpoints` of `workdir`.

    Args:
      workdir: of the run.
      keep: how many of the latest steps stay; the one of the highest value stays besides.
      reading: leaves what a save under way has written so far; otherwise that is taken for what a
        killed save left, and removed.
    """
    self._keep = keep
    self._last: int | None = None
    self._folder = folder = pathlib.Path(workdir).absolute() / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if not reading:
      _put_back(folder)
    self._manager = ocp.CheckpointManager(
      folder,
      options=ocp.CheckpointManagerOptions(
        create=False,
        preservation_policy=self,
        cleanup_tmp_directories=not reading,
        # Of several processes the first one alone saves.
        multiprocessing_options=ocp.options.MultiprocessingOptions(active_processes={0}),
      ),
    )
    # Orbax's own book of values would be read here, and a damaged one would stop everything.
    steps = self.steps()
    self._values = {step: self._value(step) for step in steps}
    if not reading:
      # A kill may have struck while older steps were deleted, after the last save there was.
      for step, stays in zip(steps, self._stay(steps)):
        if not stays:
          self._manager.delete(step)

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    """Orbax asks which steps stay."""
    del context
    return self._stay([checkpoint.step for checkpoint in checkpoints])

  def _stay(self, steps):
    return [step in (*steps[-self._keep :], self.best()) for step in steps]

  def steps(self) -> list[int]:
    """The saved steps, oldest first."""
    return sorted(self._manager.all_steps())

  def best(self) -> int | None:
    """The step that was saved with the highest value, if any was given one."""
    known = {step: value for step, value in self._values.items() if value is not None}
    return max(known, key=known.__getitem__) if known else None

  def save(
    self, step: int, arrays: Mapping[str, Any], texts: Mapping[str, Any], value: float | None
  ) -> None:
    """Saves `arrays` (`params`, `learner`, `replay`) and `texts` (`meta`, `config`).

    Args:
      step: its number; one that exists is replaced.
      arrays: may be donated as soon as this returns.
      texts: nested plain values.
      value: how good the step is, if that is known.

    Raises:
      OSError: if this or the save before failed; a step that was to be replaced is still there.
    """
    replaced = step in self._manager.all_steps()
    if replaced:
      with self._writing(step):
        self._manager.wait_until_finished()
    digest = {'value': value} | {name: _digest_arrays(arrays[name]) for name in _ARRAYS}
    digest |= {name: _digest_text(texts[name]) for name in _JSON}
    items = {name: ocp.args.StandardSave(arrays[name]) for name in _ARRAYS}
    items |= {name: ocp.args.JsonSave(texts[name]) for name in _JSON}
    items['digest'] = ocp.args.JsonSave(digest)
    before, self._values[step] = self._values.get(step), value
    if replaced:
      os.rename(self._folder / str(step), self._folder / f'{step}{_REPLACED}')
      self._manager.reload()
    try:
      with self._writing(step):
        self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        if replaced:
          self._manager.wait_until_finished()
    except OSError:
      self._values[step] = before
      raise
    finally:
      if replaced:
        _put_back(self._folder)
        self._manager.reload()

  def restore(self, step: int, like: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
    """Restores the JSON items and some array items.

    Args:
      step: its number.
      like: from the item `meta` to those array items, as arrays on the devices where they shall be,
        or as their shapes.

    Raises:
      InputError: if a file of the step is damaged.
    """
    texts = {name: ocp.args.JsonRestore() for name in (*_JSON, 'digest')}
    expected = 'a whole one: another step, or a copy'
    try:
      restored = dict(self._manager.restore(step, args=ocp.args.Composite(**texts)))
      wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, dict(like(restored['meta'])))
      items = {name: ocp.args.StandardRestore(value) for name, value in wanted.items()}
      if items:
        restored |= dict(self._manager.restore(step, args=ocp.args.Composite(**items)))
    except Exception as error:  # Damaged files raise almost anything.
      reason = ' '.join(str(error).split())[:200]
      found = f'step {step} unreadable ({type(error).__name__}: {reason})'
      raise errors.InputError(f'checkpoint: found {found}, expected {expected}') from error
    digest = restored.pop('digest')
    found = {name: _digest_text(restored[name]) for name in _JSON}
    found |= {name: _digest_arrays(restored[name]) for name in items}
    damaged = [name for name, value in found.items() if digest.get(name) != value]
    errors.check(not damaged, 'checkpoint', f'step {step} with {damaged} damaged', expected)
    return restored

  def restore_latest(self, like: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any] | None:
    """Restores the newest step that is whole, see `restore`; None if there is no step at all.

    Raises:
      InputError: if there are steps, and all are damaged.
    """
    steps = self.steps()
    for step in reversed(steps):
      try:
        return self.restore(step, like)
      except errors.InputError as error:
        logging.warning('%s; trying the one before', error)
    expected = 'a whole one, or another --workdir'
    errors.check(not steps, 'checkpoint', f'all of {steps} damaged', expected)
    return None

  def restore_texts(self, step: int) -> dict[str, Any]:
    """The JSON items alone; see `restore`."""
    return self.restore(step, lambda meta: {})

  def close(self) -> None:
    """Waits for what is under way.

    Raises:
      OSError: if the last save failed.
    """
    with self._writing(self._last):
      self._manager.close()

  def _value(self, step):
    try:
      items = ocp.args.Composite(digest=ocp.args.JsonRestore())
      return self._manager.restore(step, args=items)['digest']['value']
    except Exception:  # Damaged files raise almost anything; `restore` will say so.
      return None

  @contextlib.contextmanager
  def _writing(self, step):
    """Turns a failed save, this one or the one before, into an `OSError`."""
    try:
      yield
    except Exception as error:  # By what wrote: the system's, tensorstore's or orbax's own.
      reason = ' '.join(str(error).split())[:300]
      raise OSError(f'checkpoint {self._last or step} cannot be written: {reason}') from error
    self._last = step


def _put_back(folder):
  """Steps that were to be replaced go, or come back where nothing took their place."""
  for old in folder.glob(f'*{_REPLACED}'):
    new = folder / old.name.removesuffix(_REPLACED)
    if new.exists():
      shutil.rmtree(old)
    else:
      os.rename(old, new)


def exist(workdir: str | os.PathLike) -> bool:
  """Whether a work directory has any checkpoint."""
  folder = pathlib.Path(workdir) / _FOLDER
  return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())


def open_existing(path: str | os.PathLike, best: bool = False) -> tuple[Checkpoints, int]:
  """Finds a checkpoint to read.

  Args:
    path: a work directory, its `checkpoints` folder, or one step's folder.
    best: of a work directory, the step with the highest value instead of the latest.

  Returns:
    The checkpoints and the step.

  Raises:
    InputError: if there is none.
  """
  given = pathlib.Path(path).absolute()
  step = None
  if given.name.isdigit() and given.parent.name == _FOLDER:
    step, folder = int(given.name), given.parent
  else:
    folder = given if given.name == _FOLDER else given / _FOLDER
  steps = [int(x.name) for x in folder.iterdir() if x.name.isdigit()] if folder.is_dir() else []
  expected = 'a work directory with checkpoints, or one step in it'
  errors.check(bool(steps), 'checkpoint', f'no checkpoint in {path}', expected)
  errors.check(step in (None, *steps), 'checkpoint', f'no step {step} in {folder}', sorted(steps))
  checkpoints = Checkpoints(folder.parent, reading=True)
  if step is None:
    step = checkpoints.best() if best else max(steps)
    errors.check(step is not None, 'checkpoint', 'no step with a value', 'one saved after a result')
  return checkpoints, step  # pyrefly: ignore


def _digest_arrays(tree) -> str:
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    digest.update(f'{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}'.encode())
    for piece in _pieces(leaf):
      digest.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
  return digest.hexdigest()


def _pieces(leaf):
  """An array, in order, from where it lies: one that several devices share would be copied."""
  shards = getattr(leaf, 'addressable_shards', [])
  whole = lambda place, size: place.indices(size) == (0, size, 1)
  rows_alone = all(all(map(whole, x.index[1:], leaf.shape[1:])) for x in shards)
  if len(shards) < 2 or leaf.sharding.is_fully_replicated or not rows_alone:
    return [np.asarray(leaf)]
  return [np.asarray(x.data) for x in sorted(shards, key=lambda x: x.index[0].start or 0)]


def _digest_text(value) -> str:
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
