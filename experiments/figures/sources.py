"""Runs to draw, read from work directories and CSV files and checked; what is wrong is said.

A source is `PATH`, `LABEL=PATH` or `PANEL/LABEL=PATH`. Sources of one label are seeds of one group,
groups of one panel are drawn into the same axes. A path is a work directory, a folder of
`seed_N` work directories, a CSV file written by `write_csv`, or a pattern of any of them.
"""

from collections.abc import Mapping, Sequence
import csv
import glob
import json
import os
import pathlib
import re
from typing import NamedTuple

import numpy as np

from eimitate import errors

_STEPS = ('agent_steps', 'env_steps')
_RETURN, _FRACTION = 'eval/mean_return', 'eval/fraction_of_expert'
_SECONDS = 'seconds'  # A column of CSV files, which may be empty.
_UPDATE_RATE, _EVALUATION = 'time/updates_per_second', 'time/evaluation_seconds'


class Source(NamedTuple):
  """Where a run is, and where it belongs."""

  panel: str
  label: str
  path: pathlib.Path


class Run(NamedTuple):
  """One run as it is drawn.

  agent_steps, returns: `[N]` of its evaluations.
  seconds: `[N]` wall time from its start to the end of each, stops left out; NaN if unknown.
  repeat: env steps per agent step; 0 where it has not gone far enough to tell.
  expert_return: what its returns are compared with, 0 if unknown.
  """

  source: Source
  agent_steps: np.ndarray
  returns: np.ndarray
  seconds: np.ndarray
  repeat: float
  expert_return: float


def parse(texts: Sequence[str]) -> list[Source]:
  """Sources as they are given on the command line.

  Raises:
    InputError: if there is none, or nothing where one points to.
  """
  errors.check(bool(texts), '--sources', 'none', 'at least one')
  sources = []
  for text in texts:
    name, separator, pattern = text.rpartition('=')
    panel, _, label = name.rpartition('/')
    paths = sorted(glob.glob(pattern)) or [pattern]
    for path in map(pathlib.Path, paths):
      seeds = sorted(path.glob('seed_*')) if path.is_dir() else []
      for found in seeds or [path]:
        sources.append(Source(panel, label if separator else label_of(found), found))
  return sources


def label_of(path: pathlib.Path) -> str:
  """The name without the seed's number: `a/seed_1` is a, `a_1.csv` is a."""
  name = path.parent.name if re.fullmatch(r'seed_\d+', path.name) else path.stem
  return re.sub(r'_\d+$', '', name)


def load(sources: Sequence[Source]) -> tuple[list[Run], list[str]]:
  """Reads runs; those that cannot be read are skipped.

  Returns:
    The runs, and a line for everything that was left out.

  Raises:
    InputError: if a file is missing, no run is left, or runs of different tasks share a panel.
  """
  runs, notes = [], []
  # One run is one seed, however often it is named.
  once = {(*source[:2], source.path.resolve()): source for source in reversed(sources)}
  if len(once) < len(sources):
    notes.append(f'{len(sources) - len(once)} sources left out that are given more than once')
  for source in reversed(once.values()):
    path = metrics_path(source.path)
    errors.check(path.is_file(), '--sources', f'no {path}', 'a work directory or a CSV file')
    try:
      rows, left_out = read(path)
      rows, untimed = _with_seconds(path, rows)
      runs.append(_run(source, rows))
      notes += left_out + untimed
    except errors.InputError as error:
      notes.append(f'skipped {path}: {error}')
  errors.check(bool(runs), '--sources', 'nothing to draw (' + '; '.join(notes) + ')', 'a whole run')
  runs = _with_experts(runs)
  _check_panels(runs)
  return runs, notes


def metrics_path(path: pathlib.Path) -> pathlib.Path:
  """The file with a source's numbers."""
  return path if path.suffix == '.csv' else path / 'metrics.jsonl'


def read(path: pathlib.Path) -> tuple[list[dict[str, float]], list[str]]:
  """The lines of a metrics or CSV file in order, and what was left out.

  Raises:
    InputError: if the file is empty, a line within it is damaged, or it is of more than one run.
  """
  text = path.read_text(errors='replace')
  errors.check(bool(text.strip()), 'metrics', 'an empty file', 'at least one line')
  rows, notes = (_from_csv if path.suffix == '.csv' else _from_jsonl)(path, text)
  _check_one_run(rows)
  return rows, notes


def _from_jsonl(path, text):
  rows, notes = [], []
  *lines, last = text.split('\n')
  if last:
    notes.append(f'{path}: an unfinished last line is left out')
  for number, line in enumerate(lines, 1):
    try:
      row = json.loads(line)
    except json.JSONDecodeError:
      row = None
    errors.check(isinstance(row, dict), path.stem, f'line {number} damaged', 'a JSON object')
    rows.append(row)
  return rows, notes


def _from_csv(path, text):
  rows, notes = [], []
  whole = text.endswith('\n')
  for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
    try:
      cells = {name: value for name, value in row.items() if (name, value) != (_SECONDS, '')}
      rows.append({name: float(value) for name, value in cells.items()})
    except (TypeError, ValueError, AttributeError):
      # A file that ends within a line was cut off there.
      last = not whole and number == len(text.splitlines())
      errors.check(last, 'metrics', f'line {number} damaged', 'a number in every column')
  if not whole:
    rows, notes = rows[: text.count('\n') - 1], [f'{path}: an unfinished last line is left out']
  return rows, notes


def _check_one_run(rows):
  errors.check(bool(rows), 'metrics', 'no whole line', 'at least one')
  before, repeat = 0.0, 0.0
  for number, row in enumerate(rows, 1):
    known = all(isinstance(row.get(name), int | float) for name in _STEPS)
    errors.check(known, 'metrics', f'line {number} without {" and ".join(_STEPS)}', 'both')
    agent_steps, env_steps = (row[name] for name in _STEPS)
    expected = 'those of one run'
    fell = f'mixed runs: agent_steps falls from {before:g} to {agent_steps:g}'
    errors.check(agent_steps >= before, 'metrics', fell, expected)
    if agent_steps:
      other = f'mixed runs: env steps per agent step change from {repeat:g}'
      same = not repeat or abs(env_steps / agent_steps - repeat) < 1e-6 * repeat
      errors.check(same, 'metrics', other, expected)
      repeat = env_steps / agent_steps
    before = agent_steps


def _with_seconds(path, rows):
  """The same rows with the wall time of evaluations where it is known, and a line if it is damaged.

  A CSV file's rows have it already, if the file does.
  """
  timing = path.with_name('timing.jsonl')
  if path.suffix == '.csv' or not timing.is_file():
    return rows, []
  try:
    lines, notes = _from_jsonl(timing, timing.read_text(errors='replace'))
  except errors.InputError as error:
    return rows, [f'{path.parent}: no wall time: {error}']
  ends = _evaluation_ends(lines)
  known = lambda row: _RETURN in row and row['agent_steps'] in ends
  return [row | {_SECONDS: ends[row['agent_steps']]} if known(row) else row for row in rows], notes


def _evaluation_ends(lines: Sequence[Mapping[str, float]]) -> dict[float, float]:
  """Wall time in seconds from a run's start to the end of its evaluations, by their agent steps.

  It is the sum of what training times, collecting, updating and evaluating, so the time that a run
  was stopped for is not in it, nor are starting and saving. What was lost with a killed process and
  done again did take its time, twice.

  Args:
    lines: of `timing.jsonl`, in order.

  Returns:
    An empty dictionary unless the lines begin where a run does.
  """
  if not lines or lines[0].get('agent_steps') != 0:
    return {}
  # Every call makes as many updates as the first one.
  per_call = next((line['updates'] for line in lines if _UPDATE_RATE in line), 0)
  ends, now = {}, 0.0
  for line in lines:
    now += line.get('time/collect_seconds', 0.0) + line.get(_EVALUATION, 0.0)
    now += per_call / line[_UPDATE_RATE] if _UPDATE_RATE in line else 0.0
    if _EVALUATION in line:
      ends[line['agent_steps']] = now
  return ends


def _run(source, rows):
  rows = [row for row in rows if _RETURN in row]
  errors.check(bool(rows), 'metrics', 'no evaluation', 'at least one')
  experts = [row[_RETURN] / row[_FRACTION] for row in rows if row.get(_FRACTION)]
  if experts:
    apart = max(experts) - min(experts) > 1e-3 * abs(experts[0])
    errors.check(not apart, 'metrics', "mixed runs: different experts' returns", 'those of one run')
  last = rows[-1]
  return Run(
    source,
    np.array([row['agent_steps'] for row in rows], float),
    np.array([row[_RETURN] for row in rows], float),
    np.array([row.get(_SECONDS, np.nan) for row in rows], float),
    last['env_steps'] / last['agent_steps'] if last['agent_steps'] else 0.0,
    experts[-1] if experts else 0.0,
  )


def _with_experts(runs):
  """A run that never returned anything does not say what expert it had: others of its panel do."""
  known = {run.source.panel: run.expert_return for run in runs if run.expert_return}
  silent = lambda run: not run.returns.any() and run.source.panel in known
  return [
    run._replace(expert_return=known[run.source.panel]) if silent(run) else run for run in runs
  ]


def _check_panels(runs):
  first: dict[str, Run] = {}
  for run in runs:
    other = first.setdefault(run.source.panel, run)
    same_expert = abs(run.expert_return - other.expert_return) <= 1e-3 * abs(other.expert_return)
    same_repeat = 0 in (run.repeat, other.repeat) or run.repeat == other.repeat
    found = f'{other.source.path} and {run.source.path}, of different tasks, in one panel'
    expected = 'PANEL/LABEL=PATH with a panel each'
    errors.check(same_expert and same_repeat, '--sources', found, expected)


def write_csv(workdir: str | os.PathLike, output: str | os.PathLike) -> list[str]:
  """A work directory's evaluations as CSV, beside which its figure is reproduced.

  Returns:
    A line for everything that was left out.

  Raises:
    InputError: if it has none, or they are damaged.
  """
  path = metrics_path(pathlib.Path(workdir))
  errors.check(path.is_file(), '--sources', f'no {path}', 'a work directory')
  rows, notes = read(path)
  rows, untimed = _with_seconds(path, [row for row in rows if _RETURN in row])
  errors.check(bool(rows), 'metrics', f'no evaluation in {path}', 'at least one')
  with open(output, 'w', newline='') as file:
    writer = csv.DictWriter(
      file, list(dict.fromkeys([*(name for row in rows for name in row), _SECONDS])), restval=''
    )
    writer.writeheader()
    writer.writerows(rows)
  return notes + untimed
