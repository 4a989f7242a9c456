"""SIGTERM and SIGINT save a run, and the same command goes on as if none had come."""

import os
import pathlib
import signal
import subprocess
import sys
import time

_ROOT = pathlib.Path(__file__).parents[1]
_COMMAND = [
  sys.executable,
  '-m',
  'experiments.train_expert',
  '--task=point',
  '--config.environment=tests.environments.fakes:make',
  '--config.agent_steps=400',
  '--config.updates_per_agent_step=0.5',
  '--config.updates_per_call=1',
  '--config.batch_size=8',
  '--config.policy=(8,)',
  '--config.critic=(8,)',
  '--config.num_atoms=5',
  '--config.replay.episodes=4',
  '--config.replay.longest=20',
  '--config.evaluation.episodes=1',
  '--config.evaluation.interval=200',
  '--config.checkpoints.interval=200',
  '--config.parallel.devices=1',
]


def _start(workdir, cache):
  environment = os.environ | {
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_COMPILATION_CACHE_DIR': str(cache),
  }
  piped = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
  command = [*_COMMAND, f'--workdir={workdir}']
  return subprocess.Popen(command, cwd=_ROOT, env=environment, **piped)


def _finish(process):
  """What a run that ends well says."""
  said, complaints = process.communicate()
  assert process.returncode == 0, complaints
  return said


def test_each_signal_saves_and_the_run_goes_on(tmp_path):
  """One after the other strikes the same run."""
  whole, workdir, cache = tmp_path / 'whole', tmp_path / 'run', tmp_path / 'cache'
  assert 'Stopped and saved' not in _finish(_start(whole, cache))
  expected = (whole / 'metrics.jsonl').read_bytes()
  metrics, before = workdir / 'metrics.jsonl', b''
  for number in (signal.SIGTERM, signal.SIGINT):
    process = _start(workdir, cache)
    written = lambda: metrics.read_bytes().count(b'\n') if metrics.exists() else 0
    # Some rounds later, when all is compiled.
    while process.poll() is None and written() < before.count(b'\n') + 4:
      time.sleep(0.01)
    process.send_signal(number)
    assert 'Stopped and saved: the same command goes on from here.' in _finish(process)
    before, last = metrics.read_bytes(), before
    assert expected.startswith(before) and len(last) < len(before) < len(expected)
  assert 'Stopped and saved' not in _finish(_start(workdir, cache))
  assert metrics.read_bytes() == expected
