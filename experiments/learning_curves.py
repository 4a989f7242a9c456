"""Evaluations of runs: read, written as CSV, drawn."""

from collections.abc import Sequence
import csv
import json
import os
import pathlib

from matplotlib import figure as figure_lib
from matplotlib.backends import backend_agg
import numpy as np

from eimitate import errors
from eimitate import logs

# Okabe and Ito's palette: told apart by the colour-blind, and in grey.
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')


def evaluations(workdir: str | os.PathLike) -> list[dict[str, float]]:
  """The evaluation lines of a work directory's metrics.jsonl."""
  path = pathlib.Path(workdir) / 'metrics.jsonl'
  errors.check(path.is_file(), 'plot', f'no {path}', 'a work directory with metrics')
  rows = [row for row in logs.read(path) if 'eval/mean_return' in row]
  errors.check(bool(rows), 'plot', f'no evaluation in {path}', 'at least one')
  return rows


def write_csv(workdir: str | os.PathLike, output: str | os.PathLike) -> None:
  """A work directory's evaluations as CSV, beside which its figure is reproduced."""
  rows = evaluations(workdir)
  with open(output, 'w', newline='') as file:
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)


def draw(sources: Sequence[str], output: str | os.PathLike) -> None:
  """Draws evaluation return against agent steps, one line per source, and the expert's.

  Args:
    sources: work directories, or CSV files that `write_csv` wrote.
    output: an image file.
  """
  figure = figure_lib.Figure(figsize=(6, 4), layout='constrained')
  backend_agg.FigureCanvasAgg(figure)
  axes = figure.subplots()
  for i, source in enumerate(sources):
    rows = _read(source)
    x = [row['agent_steps'] for row in rows]
    y = [row['eval/mean_return'] for row in rows]
    axes.plot(x, y, color=_COLOURS[i % len(_COLOURS)], label=pathlib.Path(source).stem, marker='.')
  last = rows[-1]
  if last.get('eval/fraction_of_expert'):
    expert = last['eval/mean_return'] / last['eval/fraction_of_expert']
    axes.axhline(expert, color='grey', linestyle='--', label='expert')
  repeat = last['env_steps'] / last['agent_steps'] if last['agent_steps'] else 1
  to_env, to_agent = (lambda x: np.multiply(x, repeat)), (lambda x: np.divide(x, repeat))
  axes.secondary_xaxis('top', functions=(to_env, to_agent)).set_xlabel('env steps')
  axes.set(xlabel='agent steps', ylabel='return of greedy episodes', ylim=(0, None))
  axes.legend(fontsize='small')
  figure.savefig(output, dpi=120)


def _read(source):
  if not str(source).endswith('.csv'):
    return evaluations(source)
  with open(source, newline='') as file:
    return [
      {name: json.loads(value) for name, value in row.items()} for row in csv.DictReader(file)
    ]
