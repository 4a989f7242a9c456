"""The only orbax import: whole runs saved and restored.

A step holds the items `params` (what acting needs), `learner`, `replay`, `meta` (counters, key) and
`config` (everything that rebuilds the agent). Evaluation reads `params` and `config` only.
"""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

import jax
from orbax import checkpoint as ocp

from eimitate import errors

_FOLDER = 'checkpoints'
_ARRAYS, _JSON = ('params', 'learner', 'replay'), ('meta', 'config')


class Checkpoints:
  """The checkpoints of one work directory; a step's number is its agent steps."""

  def __init__(self, workdir: str | os.PathLike, keep: int = 2):
    """Opens, and creates if need be, the folder `checkpoints` of `workdir`."""
    self._manager = ocp.CheckpointManager(
      pathlib.Path(workdir).absolute() / _FOLDER,
      options=ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False),
    )

  def latest(self) -> int | None:
    """The newest step, or None."""
    return self._manager.latest_step()

  def save(self, step: int, arrays: Mapping[str, Any], texts: Mapping[str, Any]) -> None:
    """Saves `arrays` (`params`, `learner`, `replay`) and `texts` (`meta`, `config`)."""
    items = {name: ocp.args.StandardSave(arrays[name]) for name in _ARRAYS}
    items |= {name: ocp.args.JsonSave(texts[name]) for name in _JSON}
    self._manager.save(step, args=ocp.args.Composite(**items), force=True)
    self._manager.wait_until_finished()

  def restore(self, step: int, like: Mapping[str, Any]) -> dict[str, Any]:
    """Restores the array items named in `like`, on the devices of its arrays, and the JSON ones."""
    abstract = {name: jax.tree.map(ocp.utils.to_shape_dtype_struct, like[name]) for name in like}
    items = {name: ocp.args.StandardRestore(abstract[name]) for name in like}
    items |= {name: ocp.args.JsonRestore() for name in _JSON}
    return dict(self._manager.restore(step, args=ocp.args.Composite(**items)))

  def restore_config(self, step: int) -> dict[str, Any]:
    """The JSON items alone."""
    items = {name: ocp.args.JsonRestore() for name in _JSON}
    return dict(self._manager.restore(step, args=ocp.args.Composite(**items)))

  def close(self) -> None:
    """Waits for what is under way."""
    self._manager.close()


def open_existing(path: str | os.PathLike) -> tuple[Checkpoints, int]:
  """Finds a checkpoint to read.

  Args:
    path: a work directory (its latest step), its `checkpoints` folder, or one step's folder.

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
  checkpoints = Checkpoints(folder.parent)
  return checkpoints, max(steps) if step is None else step
