"""A table of results in Markdown: how good each label's seeds are at last, and how soon."""

from collections.abc import Sequence
import os
import pathlib
from typing import NamedTuple

import numpy as np

from experiments.figures import bars
from experiments.figures import sources as sources_lib

FORMATS = ('.md',)
_ENOUGH = 0.9  # Of the expert's return.
_HEADER = (
  'label',
  'seeds',
  'last, IQM [95%]',
  'best, mean',
  f'env steps to {_ENOUGH}',
  f'agent steps to {_ENOUGH}',
  f'reach {_ENOUGH}',
  'wall, s',
)


class Row(NamedTuple):
  """One label's seeds; returns are fractions of the expert's.

  last: their last evaluations. best: the mean of their best ones.
  reached: how many have an evaluation of 0.9 or more.
  env_steps, agent_steps: at the first such evaluation, the median of those seeds; NaN if there is
    none.
  seconds: wall time to the last evaluation, the median of the seeds where it is known, or NaN.
  """

  name: str
  last: bars.Bar
  best: float
  reached: int
  env_steps: float
  agent_steps: float
  seconds: float


def by_row(sources: Sequence[sources_lib.Source]) -> list[sources_lib.Source]:
  """Sources with each label in a panel of its own: rows, unlike axes, may be of different tasks."""
  name = lambda source: '/'.join(part for part in (source.panel, source.label) if part)
  return [source._replace(panel=name(source)) for source in sources]


def data(runs: Sequence[sources_lib.Run]) -> tuple[list[Row], list[str]]:
  """A row for each panel's runs, and a line for everything that is not alike among them.

  Raises:
    InputError: if the expert's return is not known, or not above 0.
  """
  rows, notes = [], []
  for name in dict.fromkeys(run.source.panel for run in runs):
    own = [run for run in runs if run.source.panel == name]
    [last], unlike = bars.data(own)
    fractions = [run.returns / run.expert_return for run in own]
    best = [values.max() for values in fractions]
    firsts = [
      (run.agent_steps[np.argmax(values >= _ENOUGH)], run.repeat)
      for run, values in zip(own, fractions)
      if values.max() >= _ENOUGH
    ]
    ends = [run.seconds[-1] for run in own if np.isfinite(run.seconds[-1])]
    row = Row(
      name,
      last,
      best=float(np.mean(best)),
      reached=len(firsts),
      env_steps=_median([steps * repeat for steps, repeat in firsts]),
      agent_steps=_median([steps for steps, _ in firsts]),
      seconds=_median(ends),
    )
    rows.append(row)
    notes += unlike
    if 0 < len(ends) < len(own):
      notes.append(f'{name!r}: the wall time of {len(ends)} of {len(own)} seeds is known')
  return rows, notes


def _median(values):
  return float(np.median(values)) if values else np.nan


def text(rows: Sequence[Row]) -> str:
  """The rows as Markdown."""
  cells = [_HEADER, ['---'] * len(_HEADER), *map(_cells, rows)]
  return ''.join(f'| {" | ".join(line)} |\n' for line in cells)


def _cells(row):
  last, seeds = row.last, len(row.last.values)
  # The interval of one seed is that seed.
  interval = f' [{last.low:.2f}, {last.high:.2f}]' if seeds > 1 else ''
  return [
    row.name.replace('|', r'\|'),
    f'{seeds}',
    f'{last.iqm:.2f}{interval}',
    f'{row.best:.2f}',
    _whole(row.env_steps),
    _whole(row.agent_steps),
    f'{row.reached} of {seeds}',
    _whole(row.seconds),
  ]


def _whole(value):
  return f'{value:.0f}' if np.isfinite(value) else '-'


def write(rows: Sequence[Row], outputs: Sequence[str | os.PathLike]) -> None:
  """Writes the table to each of `outputs`, or prints it where there is none."""
  for output in outputs:
    pathlib.Path(output).write_text(text(rows))
  if not outputs:
    print(text(rows), end='')
