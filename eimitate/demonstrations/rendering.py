"""Frames of recorded episodes, drawn anew from their simulator states."""

from collections.abc import Iterator, Sequence
import os
import pathlib

import numpy as np
from PIL import Image

from eimitate import environments
from eimitate import errors
from eimitate.demonstrations.dataset import Dataset


def frames(dataset: Dataset, height: int, width: int) -> Iterator[np.ndarray]:
  """What the first camera saw, `[T + 1, height, width, 3]` uint8, episode by episode.

  `environments.gl.prepare` must have been called before MuJoCo was imported.

  Raises:
    InputError: if the dataset has no states, or they do not belong to the task's model.
  """
  errors.check(dataset.has_states, 'demonstrations states', 'none', 'states to draw frames from')
  metadata = dataset.metadata
  program = environments.is_program(metadata.task)
  errors.check(not program, 'demonstrations task', metadata.task, 'one that is not on device')
  environment = environments.make_environment(metadata.task, metadata.action_repeat)
  for episode in dataset.episodes:
    shown = []
    for state in episode.states:
      environment.restore(state, episode.model_fields)
      shown.append(environment.render(height, width))
    yield np.stack(shown)


def write_gif(path: str | os.PathLike, shown: Sequence[np.ndarray], seconds: float) -> None:
  """Writes frames `[H, W, 3]` as a looping GIF, to a temporary name first.

  Args:
    path: of the file.
    shown: the frames.
    seconds: that each is shown for.
  """
  images = [Image.fromarray(frame) for frame in shown]
  partial = pathlib.Path(f'{path}.partial')
  milliseconds = max(round(1000 * seconds), 20)  # Faster ones are slowed down by viewers.
  try:
    images[0].save(
      partial, 'GIF', save_all=True, append_images=images[1:], duration=milliseconds, loop=0
    )
    os.replace(partial, path)
  except BaseException:
    partial.unlink(missing_ok=True)
    raise
