"""How every figure looks: colours told apart by the colour-blind and in grey, PNG and SVG."""

from collections.abc import Sequence
import os
import pathlib

import matplotlib
from matplotlib import figure as figure_lib
from matplotlib.backends import backend_agg
import numpy as np

from eimitate import errors

# Okabe and Ito's palette, and a line's dashes beside it.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
DASHES = ('-', '--', '-.', ':', (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
EXPERT = 'dimgrey'
SEQUENTIAL = 'cividis'

FORMATS = ('.png', '.svg')
_SETTINGS = {
  'font.size': 9,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.grid': True,
  'grid.alpha': 0.3,
  'svg.hashsalt': 'eimitate',  # The same figure is the same file.
  'svg.fonttype': 'none',
}

# Decorates a function that draws.
styled = matplotlib.rc_context(_SETTINGS)


def nth(values: Sequence, number: int):
  """The `number`-th colour or dashes, from the first again after the last."""
  return values[number % len(values)]


def subplots(rows: int, columns: int, width: float = 4.2, height: float = 3.2):
  """A figure and its `[rows, columns]` axes, `width` x `height` inches each."""
  figure = figure_lib.Figure(figsize=(width * columns, height * rows), layout='constrained')
  backend_agg.FigureCanvasAgg(figure)
  return figure, figure.subplots(rows, columns, squeeze=False)


def check_outputs(outputs: Sequence[str | os.PathLike], formats: Sequence[str] = FORMATS) -> None:
  """Raises `InputError` unless each has a suffix of `formats` and is in a folder that exists."""
  names = ' or '.join(f'name{suffix}' for suffix in formats)
  for output in outputs:
    path = pathlib.Path(output)
    errors.check(path.suffix in formats, '--output', repr(str(output)), f'a {names}')
    errors.check(path.parent.is_dir(), '--output', f'no folder {path.parent}', 'one that exists')


def save(figure, outputs: Sequence[str | os.PathLike]) -> None:
  """Writes a figure to each of `outputs`."""
  check_outputs(outputs)
  for output in outputs:
    svg = pathlib.Path(output).suffix == '.svg'
    figure.savefig(output, dpi=150, metadata={'Date': None} if svg else None)


def env_steps_above(axes, repeat: float) -> None:
  """Env steps along the top of axes whose x are agent steps."""
  to_env, to_agent = (lambda x: np.multiply(x, repeat)), (lambda x: np.divide(x, repeat))
  axes.secondary_xaxis('top', functions=(to_env, to_agent)).set_xlabel('env steps')
