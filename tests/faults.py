"""Kills a tiny real run at random moments, also while it saves, and resumes it.

python tests/faults.py --kills=50 --seed=0

Every run must end with the metrics.jsonl of one that was never killed, byte for byte, and leave no
other files than that one.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

_ROOT = pathlib.Path(__file__).parents[1]
_COMMAND = [sys.executable, '-m', 'experiments.train_efficient_imitate', '--seed=1'] + [
  f'--config.{setting}'
  for setting in (
    'agent_steps=1000',
    'updates_per_agent_step=0.04',
    'updates_per_call=2',
    'batch_size=8',
    'evaluation.episodes=1',
    'evaluation.interval=250',
    'evaluation.diagnostics=False',
    'checkpoints.interval=250',
    'search.num_iterations=1',
    'search.num_sequences=8',
    'search.num_elites=4',
    'networks.dynamics=(16,)',
    'parallel.devices=1',
  )
]
# What a kill strikes is the run, not the compiler: most programs come from a cache.
_CACHE = {'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}


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


def files(workdir: pathlib.Path) -> set[str]:
  """Names of everything in a work directory; TensorBoard's and orbax's carry times and hashes."""
  found = {path.relative_to(workdir) for path in workdir.rglob('*')}
  steady = {path for path in found if path.parts[0] != 'tensorboard' and 'd' not in path.parts}
  return {str(path) for path in steady}


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
    kills = resumed = identical = 0
    while kills < arguments.kills:
      workdir, here = folder / f'run{kills}', 0
      for _ in range(min(rng.randint(1, 3), arguments.kills - kills)):
        process = start(workdir, environment)
        # Later kills of one run strike what is left of it.
        wait = rng.uniform(0, whole)
        try:
          process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
          process.send_signal(signal.SIGKILL)
          process.communicate()
          here += 1
          print(f'killed after {wait:.1f} s of {whole:.1f} s', flush=True)
        else:
          break
      kills += here
      finish(workdir, environment)
      resumed += here
      same = (workdir / 'metrics.jsonl').read_bytes() == expected
      left = files(workdir) - files(folder / 'whole')
      if left:
        print(f'orphans: {sorted(left)}')
      identical += here * (same and not left)
      shutil.rmtree(workdir)
    print(f'{kills} kills, {resumed} resumed, {identical} bit-identical')
    return int(not kills == resumed == identical)
  finally:
    shutil.rmtree(folder)


if __name__ == '__main__':
  sys.exit(main())
