"""Kills a tiny real run at random moments, every third time while it saves, and resumes it.

python tests/faults.py --kills=50 --seed=0

Every run must end with the metrics.jsonl of one that was never killed, byte for byte, with the same
numbers in its checkpoints, and leave no other files than that one.
"""

import argparse
import json
import math
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from orbax import checkpoint as ocp

_ROOT = pathlib.Path(__file__).parents[1]
_COMMAND = [sys.executable, '-m', 'experiments.train_efficient_imitate', '--seed=1'] + [
  f'--config.{setting}'
  for setting in (
    'agent_steps=500',
    'actors.num=1',
    'updates_per_agent_step=0.08',
    'updates_per_call=2',
    'batch_size=8',
    'evaluation.episodes=1',
    'evaluation.interval=125',
    'evaluation.diagnostics=False',
    'checkpoints.interval=125',
    'search.num_iterations=1',
    'search.num_sequences=8',
    'search.num_elites=4',
    'networks.dynamics=(16,)',
    'parallel.devices=1',
  )
]
# What a kill strikes is the run, not the compiler: most programs come from a cache.
_CACHE = {'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}
_NO_SAVE, _SAVE, _REPLACING = 'no save', 'a save', 'a save that replaces a step'
_POLL = 0.002  # Seconds; an update takes some more.
_INDICES = 4096  # Bytes; the replay is three times that, whichever step's it is.


def start(workdir: pathlib.Path, environment: dict[str, str]) -> subprocess.Popen:
  """The run as a process of its own."""
  command = [*_COMMAND, f'--workdir={workdir}']
  return subprocess.Popen(
    command, cwd=_ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
  )


def finish(workdir: pathlib.Path, environment: dict[str, str]) -> float:
  """Runs to the end; returns seconds.

  Raises:
    RuntimeError: if the run fails.
  """
  started = time.monotonic()
  process = start(workdir, environment)
  _, said = process.communicate()
  if process.returncode:
    raise RuntimeError(f'{workdir} cannot be resumed: {said.decode()[-2000:]}')
  return time.monotonic() - started


def unfinished(workdir: pathlib.Path) -> list[str]:
  """What a save in progress leaves beside the steps: orbax's temporary folder, a replaced step."""
  paths = (workdir / 'checkpoints').glob('*')
  return sorted(path.name for path in paths if not path.name.isdigit())


def stop_in_round(workdir: pathlib.Path, environment: dict[str, str]) -> None:
  """Has the run save itself between two updates, if any is due: the next save replaces that one.

  Raises:
    RuntimeError: if SIGTERM does not end it well.
  """
  timing = workdir / 'timing.jsonl'
  written = lambda: timing.read_bytes() if timing.exists() else b''
  before, process = len(written()), start(workdir, environment)
  while process.poll() is None and b'updates_per_second' not in written()[before:]:
    time.sleep(_POLL)
  process.terminate()
  _, said = process.communicate()
  if process.returncode:
    raise RuntimeError(f'{workdir} was not stopped well: {said.decode()[-2000:]}')


def kill(process: subprocess.Popen, workdir: pathlib.Path, wait: float, saves: int) -> str | None:
  """Kills the run.

  Args:
    process: it.
    workdir: its.
    wait: for how many seconds.
    saves: how many have to begin before `wait` does.

  Returns:
    What the kill struck: a save, one that replaces a step, or none; None if the run ended before.
  """
  until = math.inf if saves else time.monotonic() + wait
  # Until the run has removed it, there is what an earlier kill left.
  removed = saving = False
  while time.monotonic() < until:
    if process.poll() is not None:
      break
    before, saving = saving, bool(unfinished(workdir))
    removed = removed or not saving
    if removed and saving and not before:
      saves -= 1
      if saves == 0:
        until = time.monotonic() + wait
    time.sleep(_POLL)
  process.kill()
  process.communicate()
  if process.returncode != -signal.SIGKILL:
    return None
  left = unfinished(workdir) if removed else []
  if any(name.endswith('.replaced') for name in left):
    return _REPLACING
  return _SAVE if left else _NO_SAVE


def files(workdir: pathlib.Path) -> dict[str, int]:
  """Names of everything in a work directory; of arrays' files the folders, and their bytes there.

  TensorBoard's names carry times; those of arrays are hashes, and their number varies.
  """
  found = {}
  for path in workdir.rglob('*'):
    inside, arrays = path.relative_to(workdir), path.parent.name == 'd'
    if inside.parts[0] != 'tensorboard':
      name = str(inside.parent if arrays else inside)
      found[name] = found.get(name, 0) + (path.stat().st_size if arrays else 0)
  return found


def saved(workdir: pathlib.Path) -> dict[str, list]:
  """Every item of the steps of a work directory, read past the library."""
  items = {}
  with ocp.StandardCheckpointer() as reader:
    for step in (workdir / 'checkpoints').iterdir():
      for name in ('params', 'learner', 'replay'):
        arrays = map(np.asarray, jax.tree.leaves(reader.restore(step / name)))
        items[f'{step.name}/{name}'] = [(x.dtype, x.shape, x.tobytes()) for x in arrays]
      for name in ('meta', 'config', 'digest'):
        items[f'{step.name}/{name}'] = [json.loads((step / name / 'metadata').read_text())]
  return items


def difference(workdir: pathlib.Path, whole: pathlib.Path) -> str:
  """How what is left of a run differs from what a whole one leaves, in a line; else empty."""
  left, expected = files(workdir), files(whole)
  other = sorted(left.keys() ^ expected.keys())
  if other:
    return f'{len(other)} orphans and missing files: {other[:5]}'
  # How much lies in indices of arrays varies: by some percent, and most of a small item is indices.
  larger = [name for name, size in left.items() if size > 1.1 * expected[name] + _INDICES]
  if larger:
    return f'orphans in {larger}'
  try:
    left, expected = saved(workdir), saved(whole)
  except Exception as error:  # Damaged files raise almost anything.
    return f'a checkpoint cannot be read: {error}'
  other = [name for name, item in left.items() if item != expected[name]]
  return f'other values in {other}' if other else ''


def strike(
  index: int,
  workdir: pathlib.Path,
  environment: dict[str, str],
  rng: random.Random,
  whole: float,
) -> str | None:
  """Starts a run that takes `whole` seconds, and kills it: see `kill`, which says what it struck.

  Every third is aimed at a save, and every second of these at one that replaces a step.
  """
  saves = 0
  if index % 6 == 0:
    saves = 1
    stop_in_round(workdir, environment)
  elif index % 3 == 0:
    saves = rng.randint(1, 2)
  # A save takes about a fortieth of the run.
  wait = rng.uniform(0, whole / 40 if saves else whole)
  struck = kill(start(workdir, environment), workdir, wait, saves)
  if struck:
    since = f'after the start of save {saves}' if saves else f'of {whole:.1f} s'
    print(f'killed {wait:.2f} s {since}: {struck}', flush=True)
  return struck


def main(argv: list[str] | None = None) -> int:
  """Returns 0 only if every killed run ended as it would have without."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--kills', type=int, default=5)
  parser.add_argument('--seed', type=int, default=0)
  arguments = parser.parse_args(argv)
  rng = random.Random(arguments.seed)
  folder = pathlib.Path(tempfile.mkdtemp(prefix='eimitate-faults-'))
  environment = os.environ | _CACHE | {'JAX_COMPILATION_CACHE_DIR': str(folder / 'cache')}
  try:
    finish(folder / 'warm', environment)
    whole = finish(folder / 'whole', environment)
    expected = (folder / 'whole' / 'metrics.jsonl').read_bytes()
    struck, resumed, identical = [], 0, 0
    while len(struck) < arguments.kills:
      before = len(struck)
      workdir = folder / f'run{before}'
      # Later kills of one run strike what is left of it.
      for index in range(before, min(before + rng.randint(1, 3), arguments.kills)):
        what = strike(index, workdir, environment, rng, whole)
        if what is None:
          break
        struck.append(what)
      finish(workdir, environment)
      resumed = len(struck)
      same = (workdir / 'metrics.jsonl').read_bytes() == expected
      different = difference(workdir, folder / 'whole')
      if different:
        print(different)
      identical += (resumed - before) * (same and not different)
      shutil.rmtree(workdir)
    kills, missed = len(struck), struck.count(_NO_SAVE)
    replacing = struck.count(_REPLACING)
    print(f'{kills - missed} kills hit a save in progress, {replacing} one that replaces a step')
    print(f'{kills} kills, {resumed} resumed, {identical} bit-identical')
    return int(not kills == resumed == identical)
  finally:
    shutil.rmtree(folder)


if __name__ == '__main__':
  jax.config.update('jax_platforms', 'cpu')  # An accelerator is the runs'.
  sys.exit(main())
