"""Learning curves: the mean over seeds with its interval, the expert's line, both step units."""

from collections.abc import Sequence
import os
import pathlib
from typing import NamedTuple

import numpy as np

from experiments.figures import sources as sources_lib
from experiments.figures import style

_RESAMPLES = 2000


class Curve(NamedTuple):
  """One group's. steps: `[N]` agent steps; mean, low, high: `[N]` of returns; runs: its seeds."""

  label: str
  steps: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray
  runs: Sequence[sources_lib.Run]


class Panel(NamedTuple):
  """Axes: groups of one task. repeat: env steps per agent step; expert_return: 0 if unknown."""

  title: str
  repeat: float
  expert_return: float
  curves: list[Curve]


def data(runs: Sequence[sources_lib.Run]) -> tuple[list[Panel], list[str]]:
  """Runs as panels, and a line for everything that is not shown."""
  panels, notes = [], []
  for title in dict.fromkeys(run.source.panel for run in runs):
    own = [run for run in runs if run.source.panel == title]
    curves = []
    for label in dict.fromkeys(run.source.label for run in own):
      curve, shortened = _curve(label, [run for run in own if run.source.label == label])
      curves.append(curve)
      notes += shortened
    repeat = max(run.repeat for run in own)
    panels.append(Panel(title, repeat, own[0].expert_return, curves))
  return panels, notes


def _curve(label, runs):
  """The mean where all seeds have been; between a seed's evaluations by straight lines."""
  start = max(run.agent_steps[0] for run in runs)
  end = min(run.agent_steps[-1] for run in runs)
  notes = [
    f'{run.source.path}: goes on to {run.agent_steps[-1]:g} agent steps; the mean of'
    f' {label!r} ends at {end:g} with its shortest run'
    for run in runs
    if run.agent_steps[-1] > end
  ]
  steps = np.unique(np.concatenate([run.agent_steps for run in runs]))
  steps = steps[(start <= steps) & (steps <= end)]
  values = np.stack([np.interp(steps, run.agent_steps, run.returns) for run in runs])
  low, high = interval(values)
  return Curve(label, steps, values.mean(0), low, high, runs), notes


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The 95% bootstrap interval of the mean over rows of `[S, N]`, rows drawn anew, seeded."""
  rng = np.random.default_rng(0)
  drawn = rng.integers(len(values), size=(_RESAMPLES, len(values)))
  means = values[drawn].mean(1)
  return np.percentile(means, 2.5, axis=0), np.percentile(means, 97.5, axis=0)


@style.styled
def draw(panels: Sequence[Panel], outputs: Sequence[str | os.PathLike]) -> None:
  """Draws every panel beside the others; thin lines are single seeds."""
  figure, axes = style.subplots(1, len(panels), width=5.2, height=3.8)
  for ax, panel in zip(axes[0], panels):
    for number, curve in enumerate(panel.curves):
      colour, dashes = style.nth(style.COLOURS, number), style.nth(style.DASHES, number)
      seeds = len(curve.runs)
      if seeds > 1:
        for run in curve.runs:
          ax.plot(run.agent_steps, run.returns, color=colour, linewidth=0.6, alpha=0.45)
        ax.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
      label = curve.label + (f' ({seeds} seeds)' if seeds > 1 else '')
      marker = '.' if len(curve.steps) < 40 else ''
      ax.plot(curve.steps, curve.mean, color=colour, linestyle=dashes, label=label, marker=marker)
    if panel.expert_return:
      ax.axhline(panel.expert_return, color=style.EXPERT, linestyle='--', label='expert')
    style.env_steps_above(ax, panel.repeat or 1)
    ax.set(xlabel='agent steps', ylabel='return of greedy episodes', title=panel.title)
    ax.set_ylim(bottom=min(0, *ax.get_ylim()))
    ax.legend(fontsize='small')
  style.save(figure, outputs)


def draw_workdirs(workdirs: Sequence[str], output: str | os.PathLike) -> list[str]:
  """The curve of a run, or of a run's seeds; returns what is not shown and why."""
  paths = [pathlib.Path(workdir) for workdir in workdirs]
  sources = [sources_lib.Source('', sources_lib.label_of(path), path) for path in paths]
  runs, skipped = sources_lib.load(sources)
  panels, shortened = data(runs)
  draw(panels, [output])
  return skipped + shortened
