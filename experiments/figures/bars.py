"""How good groups are at their runs' ends: interquartile means over seeds and tasks."""

from collections.abc import Sequence
import os
from typing import NamedTuple

import numpy as np

from eimitate import errors
from eimitate import evaluation
from experiments.figures import sources as sources_lib
from experiments.figures import style

ALL = 'all tasks'


class Bar(NamedTuple):
  """One group in one panel, as fractions of the expert's return.

  iqm, low, high: the interquartile mean over runs and its 95% interval, runs drawn anew within each
    task. values: `[S]` of each run.
  """

  panel: str
  label: str
  iqm: float
  low: float
  high: float
  values: np.ndarray


def data(runs: Sequence[sources_lib.Run]) -> tuple[list[Bar], list[str]]:
  """Every group's last evaluations, and a line for everything that is not shown or not alike.

  Where there are several panels and all groups have them, also all together.

  Raises:
    InputError: if the expert's return is not known, or not above 0.
  """
  by_label: dict[str, dict[str, list[float]]] = {}
  for run in runs:
    source = run.source
    expected = "the expert's return above 0, to compare tasks by"
    errors.check(run.expert_return > 0, str(source.path), 'no eval/fraction_of_expert', expected)
    panels = by_label.setdefault(source.label, {})
    panels.setdefault(source.panel, []).append(float(run.returns[-1]) / run.expert_return)
  bars, notes = [], _notes(runs)
  shared = set.intersection(*(set(panels) for panels in by_label.values()))
  for label, panels in by_label.items():
    missing = len(shared) < len(panels)
    together = {ALL: list(panels.values())} if len(panels) > 1 and not missing else {}
    if missing:
      notes.append(f'{label!r} has no bar of {ALL}: others lack some of its panels')
    for panel, strata in {**{name: [x] for name, x in panels.items()}, **together}.items():
      found = evaluation.interquartile(strata)
      values = np.concatenate(strata)
      bars.append(
        Bar(panel, label, found['iqm_return'], found['iqm_low'], found['iqm_high'], values)
      )
  return bars, notes


def _notes(runs):
  notes = []
  for panel in dict.fromkeys(run.source.panel for run in runs):
    lasts = sorted({float(run.agent_steps[-1]) for run in runs if run.source.panel == panel})
    if len(lasts) > 1:
      where = f'panel {panel!r}' if panel else 'runs'
      notes.append(f'{where}: ends after {lasts[0]:g} to {lasts[-1]:g} agent steps')
  return notes


@style.styled
def draw(bars: Sequence[Bar], outputs: Sequence[str | os.PathLike]) -> None:
  """Draws the bars side by side, panel by panel; dots are single runs."""
  labels = list(dict.fromkeys(bar.label for bar in bars))
  panels = list(dict.fromkeys(bar.panel for bar in bars if bar.panel != ALL))
  panels += [ALL] * any(bar.panel == ALL for bar in bars)
  figure, axes = style.subplots(1, 1, width=max(4.2, 1.1 + 0.45 * len(bars)), height=3.4)
  ax = axes[0, 0]
  width = 0.8 / len(labels)
  hatches = ('', '//', '..', 'xx', '\\\\', '++', 'oo')
  for bar in bars:
    number = labels.index(bar.label)
    x = panels.index(bar.panel) + (number - (len(labels) - 1) / 2) * width
    colour, hatch = style.nth(style.COLOURS, number), style.nth(hatches, number)
    look = {'color': colour, 'alpha': 0.55, 'hatch': hatch, 'edgecolor': 'white'}
    first = bar == next(other for other in bars if other.label == bar.label)
    ax.bar(x, bar.iqm, 0.9 * width, label=bar.label if first else None, **look)
    if len(bar.values) > 1:
      ax.plot([x, x], [bar.low, bar.high], color='black', linewidth=1.5)
    spread = np.linspace(-0.2, 0.2, len(bar.values)) if len(bar.values) > 1 else [0.0]
    ax.plot(x + np.multiply(spread, width), bar.values, '.', color='black', markersize=4)
  ax.axhline(1, color=style.EXPERT, linestyle='--', linewidth=1)
  ax.set(ylabel="IQM of returns, fraction of the expert's")
  ax.set_xticks(range(len(panels)), panels)
  ax.grid(axis='x', visible=False)
  ax.legend(fontsize='small', loc='lower center', bbox_to_anchor=(0.5, 1), ncols=len(labels))
  style.save(figure, outputs)
