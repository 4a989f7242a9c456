"""Ray's actors on a cluster of two nodes: host acting's episodes, and what a death costs."""

import pathlib
import sys

import jax
import numpy as np
import pytest

from eimitate import acting
from eimitate import acting_with_ray
from eimitate import configuration
from eimitate import environments
from eimitate import errors
from eimitate import runs
from eimitate import training
from eimitate.agents import d4pg
from tests.environments import fakes

_STACK = 2


def _make_act():
  def act(params, rng_key, observations, temperature):
    noise = temperature * jax.random.normal(rng_key, (len(observations), 1))
    return jax.numpy.clip(observations @ params + noise, -1, 1)

  return jax.jit(act)


def _make_environments():
  return [environments.Canonical(fakes.Deadly()) for _ in range(2)]


@pytest.fixture(name='cluster', scope='module')
def _cluster():
  cluster_utils = pytest.importorskip('ray.cluster_utils')
  import ray

  with pytest.MonkeyPatch.context() as patch:
    # Its workers find the tests, and compile as conftest.py has it here.
    patch.setenv('PYTHONPATH', str(pathlib.Path(__file__).parents[1]))
    patch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', 'true')
    node = {'num_cpus': 1, 'object_store_memory': 100_000_000}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False)
    yield ray
    ray.shutdown()
    cluster.shutdown()


def test_the_same_episodes_until_one_dies(cluster):
  collect = acting_with_ray.start(_make_act, _make_environments, _STACK, workers=2)
  params = np.full((2 * _STACK, 1), -0.1, np.float32)
  common = params, jax.random.key(3), np.float32(0.5)
  seeds = [4, 5, 6, 7]

  def on_host(number, seeds):
    parts = _make_act(), _make_environments(), _STACK, number, 2
    return acting.on_host(*parts)(*common, seeds).trajectories

  expected = on_host(0, seeds[:2]) + on_host(1, seeds[2:])
  trajectories, failures = collect(*common, seeds)
  assert not failures
  jax.tree.map(np.testing.assert_array_equal, trajectories, expected)
  assert not np.array_equal(expected[0].actions, expected[2].actions)
  assert len({actor['Address']['NodeID'] for actor in _actors(cluster)}) == 2

  # The episodes of the other worker are as they were; the next round has all again.
  trajectories, failures = collect(*common, [4, 13, 6, 7])
  assert trajectories[:2] == [None, None] and failures == {'ActorDiedError': 2}
  jax.tree.map(np.testing.assert_array_equal, trajectories[2:], expected[2:])
  trajectories, failures = collect(*common, seeds)
  assert not failures
  jax.tree.map(np.testing.assert_array_equal, trajectories, expected)
  with pytest.raises(RuntimeError, match='every worker failed before a step'):
    collect(*common, [13] * 4)


def test_a_run_with_one_worker_is_the_run_on_the_host(cluster, tmp_path):
  sizes = {'policy': (8,), 'critic': (8,), 'num_atoms': 5, 'batch_size': 8}
  settings = {'environment': 'tests.environments.fakes:make', 'num_demonstrations': 0}
  settings |= {'agent_steps': 80, 'updates_per_agent_step': 0.25, 'updates_per_call': 5}
  settings |= {'replay.episodes': 4, 'replay.longest': 20, 'evaluation.episodes': 1}
  agent_config = configuration.override(d4pg.Config(), sizes)
  for placement in ('host', 'ray'):
    config = configuration.override(runs.Config(), settings | {'actors.placement': placement})
    run = runs.Run('d4pg', 'point', 0, agent_config, config)
    training.train(run, tmp_path / placement)
  on_host, with_ray = (tmp_path / name / 'metrics.jsonl' for name in ('host', 'ray'))
  assert with_ray.read_bytes() == on_host.read_bytes() and on_host.stat().st_size > 500


def _actors(ray):
  return ray._private.state.actors().values()


def test_no_such_cluster(monkeypatch):
  def refuse(**_):
    raise ConnectionError('Failed to connect to\nRay cluster at 10.0.0.1:6379')

  ray = pytest.importorskip('ray')
  monkeypatch.setattr(ray, 'is_initialized', lambda: False)
  monkeypatch.setattr(ray, 'init', refuse)
  message = 'placement: found Failed to connect to Ray cluster at 10.0.0.1:6379, expected a Ray cl'
  with pytest.raises(errors.InputError, match=message):
    acting_with_ray.start(_make_act, _make_environments, 1, 1)


def test_without_ray(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ray', None)
  with pytest.raises(errors.InputError, match=r'pip install ray'):
    acting_with_ray.start(_make_act, _make_environments, 1, 1)
