"""What a person watches: metrics.jsonl, timing.jsonl, TensorBoard events and a progress bar."""

from collections.abc import Mapping
import json
import logging
import os
import pathlib

import tensorboardX
import tqdm

COUNTERS = ('agent_steps', 'env_steps', 'updates')


class Logger:
  """Writes one JSON object a line, and the same numbers to TensorBoard.

  `metrics.jsonl` holds what a rerun reproduces bit by bit; times and rates go to `timing.jsonl`.
  Every line has all of `COUNTERS`.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    total_agent_steps: int,
    metrics_bytes: int = 0,
    agent_steps: int = 0,
  ):
    """Opens the files of a run that goes on from a checkpoint, or of a new one.

    Lines past `metrics_bytes`, and events past `agent_steps`, belong to no checkpoint: they are
    dropped.
    """
    folder = pathlib.Path(workdir)
    self._metrics = open(folder / 'metrics.jsonl', 'ab')
    size = self._metrics.seek(0, os.SEEK_END)
    if size < metrics_bytes:
      logging.warning('metrics.jsonl has %d bytes of %d: lines are missing', size, metrics_bytes)
    self._metrics.truncate(min(size, metrics_bytes))
    self._timing = open(folder / 'timing.jsonl', 'ab')
    later = agent_steps + 1 if agent_steps else None
    self._events = tensorboardX.SummaryWriter(str(folder / 'tensorboard'), purge_step=later)
    self._bar = tqdm.tqdm(
      total=total_agent_steps, initial=agent_steps, unit=' agent steps', dynamic_ncols=True
    )
    self._postfix = {}

  @property
  def metrics_bytes(self) -> int:
    """Size of metrics.jsonl so far; a checkpoint stores it."""
    self._metrics.flush()
    return self._metrics.seek(0, os.SEEK_END)

  def write(self, counters: Mapping[str, int], metrics: Mapping[str, float]) -> None:
    """Appends a line of reproducible metrics."""
    self._write(self._metrics, counters, metrics)

  def write_timing(self, counters: Mapping[str, int], metrics: Mapping[str, float]) -> None:
    """Appends a line of times and rates."""
    self._write(self._timing, counters, metrics)

  def progress(self, counters: Mapping[str, int], **shown: str) -> None:
    """Moves the bar and updates what stands beside it."""
    self._postfix |= shown
    self._bar.set_postfix(self._postfix | {'env_steps': counters['env_steps']}, refresh=False)
    self._bar.update(counters['agent_steps'] - self._bar.n)
    self._bar.refresh()

  def close(self) -> None:
    """Flushes and closes everything."""
    self._bar.close()
    self._metrics.close()
    self._timing.close()
    self._events.close()

  def _write(self, file, counters, metrics):
    line = {name: int(counters[name]) for name in COUNTERS}
    line |= {name: float(value) for name, value in metrics.items()}
    file.write(json.dumps(line).encode() + b'\n')
    file.flush()
    for name, value in metrics.items():
      self._events.add_scalar(name, float(value), counters['agent_steps'])


def read(path: str | os.PathLike) -> list[dict[str, float]]:
  """The lines of a metrics or timing file; an unfinished last line is left out."""
  lines = pathlib.Path(path).read_text().split('\n')[:-1]
  return [json.loads(line) for line in lines]
