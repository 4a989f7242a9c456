"""An agent's episode as a strip of pictures, above a demonstration's; needs OpenGL."""

from collections.abc import Mapping, Sequence
import os
import sys

import numpy as np

from eimitate import errors
from eimitate import evaluation
from experiments import video
from experiments.figures import style


def data(checkpoint: str | os.PathLike, count: int = 8) -> dict[str, list[np.ndarray]]:
  """`count` pictures, evenly spaced in time, of the agent's first greedy episode and below it.

  Call `gl.prepare` before anything imports MuJoCo.

  Raises:
    InputError: if the checkpoint cannot be opened, or its task cannot be drawn.
  """
  loaded = evaluation.performing(evaluation.load(checkpoint))
  environments = evaluation.environments_of(loaded, 1)
  film = video.film_first(environments)
  found = evaluation.evaluate(loaded, environments)
  agent = loaded.description['agent'].replace('_', ' ')
  shown = {f'{agent}, return {found["mean_return"]:.0f}': film.frames}
  try:
    shown['demonstration'] = list(video.demonstration_frames(loaded.description))
  except errors.InputError as error:
    print(f'note: no demonstration below it: {error}', file=sys.stderr)
  return {name: spaced(frames, count) for name, frames in shown.items()}


def spaced(frames: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
  """The first and the last picture and those evenly between them, `count` in all."""
  return [frames[i] for i in np.round(np.linspace(0, len(frames) - 1, count)).astype(int)]


@style.styled
def draw(strips: Mapping[str, Sequence[np.ndarray]], outputs: Sequence[str | os.PathLike]) -> None:
  """Draws a row for each strip."""
  columns = max(len(frames) for frames in strips.values())
  figure, axes = style.subplots(len(strips), columns, width=1.0, height=1.1)
  for row, (name, frames) in zip(axes, strips.items()):
    row[0].set_title(name, loc='left', fontsize='small')
    for ax in row:
      ax.set_axis_off()
    for ax, frame in zip(row, frames):
      ax.imshow(frame)
  style.save(figure, outputs)
