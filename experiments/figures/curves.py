"""Learning curves: the mean over seeds with its interval, the expert's line, steps or seconds."""

from collections.abc import Sequence
import os
import pathlib
from typing import NamedTuple

import numpy as np

from eimitate import errors
from experiments.figures import sources as sources_lib
from experiments.figures import style

# What may be along the axis and its label; agent steps have env steps above them if none is chosen.
UNITS = {
  '': 'agent steps',
  'agent_steps': 'agent steps',
  'env_steps': 'env steps',
  'seconds': 'seconds of wall time',
}
_RESAMPLES = 2000


class Curve(NamedTuple):
  """One group's. x, mean, low, high: `[N]`, the latter of returns; seeds: x, returns `[M]` each."""

  label: str
  x: np.ndarray
  mean: np.ndarray
  low: np.ndarray
  high: np.ndarray
  seeds: list[tuple[np.ndarray, np.ndarray]]


class Panel(NamedTuple):
  """Axes: groups of one task.

  x: one of `UNITS`. repeat: env steps per agent step. expert_return: 0 if unknown.
  """

  title: str
  x: str
  repeat: float
  expert_return: float
  curves: list[Curve]


def data(runs: Sequence[sources_lib.Run], x: str = '') -> tuple[list[Panel], list[str]]:
  """Runs as panels along one of `UNITS`, and a line for everything that is not shown.

  Raises:
    InputError: if wall time is wanted and no run has it.
  """
  runs, notes = _placeable(runs, x)
  panels = []
  for title in dict.fromkeys(run.source.panel for run in runs):
    own = [run for run in runs if run.source.panel == title]
    curves = []
    for label in dict.fromkeys(run.source.label for run in own):
      curve, shortened = _curve(label, [run for run in own if run.source.label == label], x)
      curves.append(curve)
      notes += shortened
    repeat = max(run.repeat for run in own)
    panels.append(Panel(title, x, repeat, own[0].expert_return, curves))
  return panels, notes


def _along(run, x):
  """Where a run's evaluations are along an axis, `[N]`; NaN if unknown."""
  if x == 'seconds':
    return run.seconds
  return run.agent_steps * run.repeat if x == 'env_steps' else run.agent_steps


def _placeable(runs, x):
  """The runs all of whose evaluations are somewhere along an axis, and a line for each other."""
  known = lambda run: np.isfinite(_along(run, x)).all()
  placed = [run for run in runs if known(run)]
  source = 'a whole timing.jsonl beside metrics.jsonl, or a CSV file with a full column of seconds'
  errors.check(
    bool(placed), '--x', f'{x}, which no run has', f'agent_steps or env_steps, or {source}'
  )
  left_out = [run.source.path for run in runs if not known(run)]
  return placed, [f'skipped {path}: {x}: found none, expected {source}' for path in left_out]


def _curve(label, runs, x):
  """The mean where all seeds have been; between a seed's evaluations by straight lines."""
  seeds = [(_along(run, x), run.returns) for run in runs]
  start = max(places[0] for places, _ in seeds)
  end = min(places[-1] for places, _ in seeds)
  notes = [
    f'{run.source.path}: goes on to {places[-1]:g} {UNITS[x]}; the mean of'
    f' {label!r} ends at {end:g} with its shortest run'
    for run, (places, _) in zip(runs, seeds)
    if places[-1] > end
  ]
  shared = np.unique(np.concatenate([places for places, _ in seeds]))
  shared = shared[(start <= shared) & (shared <= end)]
  values = np.stack([np.interp(shared, places, returns) for places, returns in seeds])
  low, high = interval(values)
  return Curve(label, shared, values.mean(0), low, high, seeds), notes


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
      seeds = len(curve.seeds)
      if seeds > 1:
        for places, returns in curve.seeds:
          ax.plot(places, returns, color=colour, linewidth=0.6, alpha=0.45)
        ax.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
      label = curve.label + (f' ({seeds} seeds)' if seeds > 1 else '')
      marker = '.' if len(curve.x) < 40 else ''
      ax.plot(curve.x, curve.mean, color=colour, linestyle=dashes, label=label, marker=marker)
    if panel.expert_return:
      ax.axhline(panel.expert_return, color=style.EXPERT, linestyle='--', label='expert')
    if not panel.x:
      style.env_steps_above(ax, panel.repeat or 1)
    ax.set(xlabel=UNITS[panel.x], ylabel='return of greedy episodes', title=panel.title)
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
