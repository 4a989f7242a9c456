"""Two processes of one device each train as one process with two; joining fails in one line."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from eimitate import errors
from eimitate import processes

_ROOT = pathlib.Path(__file__).parents[1]
_SMALL = [
  '--task=point',
  '--config.environment=tests.environments.fakes:make',
  '--config.agent_steps=400',
  '--config.updates_per_agent_step=0.25',
  '--config.updates_per_call=5',
  '--config.batch_size=8',
  '--config.policy=(8,)',
  '--config.critic=(8,)',
  '--config.num_atoms=5',
  '--config.replay.episodes=4',
  '--config.replay.longest=20',
  '--config.evaluation.episodes=1',
  '--config.evaluation.interval=80',
  '--config.checkpoints.interval=80',
  '--config.parallel.devices=2',
]


@pytest.fixture(name='cache', scope='module')
def _cache(tmp_path_factory):
  folder = str(tmp_path_factory.mktemp('cache'))
  always = {'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}
  return os.environ | always | {'JAX_COMPILATION_CACHE_DIR': folder}


def _start(environment, workdir, *settings):
  command = [sys.executable, '-m', 'experiments.train_expert', f'--workdir={workdir}', *_SMALL]
  command += [f'--config.{setting}' for setting in settings]
  piped = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
  return subprocess.Popen(command, cwd=_ROOT, env=environment, **piped)


def _finish(*started):
  """Every process's exit code, and its errors or else what it said last on stderr."""
  said = [process.communicate()[1].strip().split('\n') for process in started]
  errors_of = lambda lines: [line for line in lines if line.startswith('error: ')] or lines[-1:]
  return [(process.returncode, *errors_of(lines)) for process, lines in zip(started, said)]


def _start_two(environment, workdir, *settings, second=()):
  together = (f'parallel.coordinator=127.0.0.1:{_free_port()}', 'parallel.num_processes=2')
  leader = _start(environment, workdir, *together, *settings)
  other = workdir.parent / 'unused'
  return leader, _start(environment, other, *together, *settings, 'parallel.process_id=1', *second)


def _free_port():
  with socket.create_server(('127.0.0.1', 0)) as server:
    return server.getsockname()[1]


def test_two_processes_are_one(cache, tmp_path):
  """The same bytes as one process: by both backends, stopped twice, then gone on with by one."""
  whole, workdir = tmp_path / 'one', tmp_path / 'two'
  assert _finish(_start(cache, whole))[0][0] == 0
  expected = (whole / 'metrics.jsonl').read_bytes()
  metrics, before = workdir / 'metrics.jsonl', 0
  lines = lambda: metrics.read_bytes().count(b'\n')
  for backend in ('pmap', 'shard_map'):
    leader, second = _start_two(cache, workdir, f'parallel.backend={backend}')
    while leader.poll() is None and not (metrics.exists() and lines() > 1 + before):
      time.sleep(0.01)
    second.send_signal(signal.SIGTERM)  # To one of them, and both save and end.
    for code, said in _finish(leader, second):
      assert code == 0, said
    before = lines()
    assert expected.startswith(metrics.read_bytes()) and before < expected.count(b'\n')
  [(code, said)] = _finish(_start(cache, workdir))
  assert code == 0, said
  assert metrics.read_bytes() == expected
  assert not (tmp_path / 'unused').exists()


def test_a_killed_process_ends_the_other_in_one_line(cache, tmp_path):
  workdir = tmp_path / 'run'
  leader, second = _start_two(cache, workdir, 'agent_steps=100000')
  metrics = workdir / 'metrics.jsonl'
  while leader.poll() is None and not (metrics.exists() and b'updates' in metrics.read_bytes()):
    time.sleep(0.01)
  second.kill()
  second.communicate()
  [(code, said)] = _finish(leader)
  assert code == 2 and said.startswith('error: device: '), said
  assert said.endswith('the last checkpoint is kept')


def test_other_settings_in_one_process(cache, tmp_path):
  started = _start_two(cache, tmp_path / 'run', second=['discount=0.5'])
  (first, told), (second, found) = _finish(*started)
  assert (first, told) == (2, 'error: processes: found other settings in another process, '
                              'expected the same settings in all')  # fmt: skip
  assert second == 2 and 'agent_config.discount: stored 0.99, given 0.5' in found
  assert not (tmp_path / 'run').exists()


def test_nobody_comes(cache, tmp_path):
  """What jax cannot join would abort in C++."""
  alone = f'parallel.coordinator=127.0.0.1:{_free_port()}'
  two = (alone, 'parallel.num_processes=2', 'parallel.wait=1')
  [(code, said)] = _finish(_start(cache, tmp_path / 'run', *two))
  assert code == 2
  assert said == ('error: config.parallel.num_processes: found not all of 2 processes after 1 s, '
                  'expected as many as started')  # fmt: skip


@pytest.mark.parametrize(
  'coordinator, num_processes, process_id, message',
  [
    ('', 2, 0, "config.parallel.coordinator: found '', expected host:port of process 0"),
    ('localhost', 2, 1, "config.parallel.coordinator: found 'localhost', expected host:port"),
    ('localhost:1', 2, 1, 'config.parallel.coordinator: found localhost:1 unreachable for 0.3 s'),
    ('localhost:{taken}', 2, 0, 'config.parallel.coordinator: found port .* not free'),
    ('localhost:1', 2, 2, 'config.parallel.process_id: found 2, expected 0 to 1'),
    ('localhost:1', 0, 0, 'config.parallel.num_processes: found 0, expected 1 or more'),
  ],
)
def test_bad_input(coordinator, num_processes, process_id, message):
  with socket.create_server(('', 0)) as server, pytest.raises(errors.InputError, match=message):
    coordinator = coordinator.format(taken=server.getsockname()[1])
    processes.join(coordinator, num_processes, process_id, 0.3)
