"""What an EfficientImitate run says of itself: discriminator, value, model, search, gradients."""

from collections.abc import Mapping, Sequence
import os
import pathlib
from typing import NamedTuple

import numpy as np

from eimitate import errors
from experiments.figures import sources as sources_lib
from experiments.figures import style

# Title, unit, and metrics by prefix, so that `model/change_error_` stands for every step.
_PANELS = (
  ('discriminator: what it knows', 'accuracy', ('discriminator/accuracy_',)),
  ('discriminator: its reward', 'mean reward', ('discriminator/reward_',)),
  ('value: predicted and realised', 'discounted return', ('value/predicted', 'value/realised')),
  ('value: calibration', 'correlation', ('value/correlation',)),
  ('model: what it misses of the change', 'share', ('model/change_error_',)),
  ('policies', 'entropy in nats', ('policy/entropy', 'policy/bc_entropy')),
  ('search', 'value over the network', ('search/improvement',)),
  ('search: visits', 'entropy in nats, share', ('search/entropy', 'search/bc_share')),
  ('gradient of each term', 'norm', ('gradient/',)),
)
_LOGARITHMIC = ('model/', 'gradient/')


class Panel(NamedTuple):
  """Axes. series: by metric, agent steps and values `[N]` each."""

  title: str
  unit: str
  series: Mapping[str, tuple[np.ndarray, np.ndarray]]


def data(workdir: str | os.PathLike) -> tuple[list[Panel], list[str]]:
  """The metrics of a work directory, and a line for everything that is not shown.

  Raises:
    InputError: if it has no metrics of this kind, or they are damaged or of more than one run.
  """
  path = sources_lib.metrics_path(pathlib.Path(workdir))
  errors.check(path.is_file(), '--sources', f'no {path}', 'a work directory')
  rows, notes = sources_lib.read(path)
  names = dict.fromkeys(name for row in rows for name in row)
  panels = []
  for title, unit, prefixes in _PANELS:
    own = [name for name in names if name.startswith(prefixes)]
    if own:
      panels.append(Panel(title, unit, {name: _series(rows, name) for name in own}))
    else:
      notes.append(f'{path}: no {" or ".join(prefixes)}, so no panel {title!r}')
  errors.check(bool(panels), 'metrics', f'none of these in {path}', 'an EfficientImitate run')
  return panels, notes


def _series(rows, name):
  own = [(row['agent_steps'], row[name]) for row in rows if name in row]
  return tuple(np.array(own, float).T)


@style.styled
def draw(panels: Sequence[Panel], outputs: Sequence[str | os.PathLike]) -> None:
  """Draws the panels in rows of three."""
  columns = min(3, len(panels))
  figure, axes = style.subplots(-(-len(panels) // columns), columns, height=2.8)
  for ax in axes.flat[len(panels) :]:
    ax.remove()
  for ax, panel in zip(axes.flat, panels):
    for number, (name, (steps, values)) in enumerate(panel.series.items()):
      look = {
        'color': style.nth(style.COLOURS, number),
        'linestyle': style.nth(style.DASHES, number),
      }
      ax.plot(steps, values, label=name.partition('/')[2].replace('_', ' '), **look)
    if next(iter(panel.series)).startswith(_LOGARITHMIC):
      ax.set_yscale('log')
    ax.set(title=panel.title, xlabel='agent steps', ylabel=panel.unit)
    ax.legend(fontsize='x-small')
  style.save(figure, outputs)
