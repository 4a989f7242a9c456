import os
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import agents
from eimitate import memory
from eimitate import parallel
from eimitate.agents.efficient_imitate import learner as learner_lib
from eimitate.agents.efficient_imitate import losses
from eimitate.replay import episodes
from tests.agents import test_d4pg as d4pg_test
from tests.agents import test_efficient_imitate_learner as learner_test
from tests.agents import test_metamimic as metamimic_test


# What is the same for both backends, computed once.
_METRICS = {}


def test_devices():
  assert len(jax.local_devices()) == 4
  assert len(parallel.choose_devices(0, 128)) == 4
  assert len(parallel.choose_devices(0, 6)) == 3
  assert len(parallel.choose_devices(2, 6)) == 2
  assert len(parallel.choose_devices(0, 128, most=2)) == 2
  assert len(parallel.choose_devices(4, 128, most=2)) == 4


@pytest.mark.parametrize(
  'requested, half, message',
  [
    (5, 10, 'found 5, expected 1 to 4'),
    (4, 6, 'found 4, expected a divisor of 6, the rows to share'),
  ],
)
def test_bad_device_counts(requested, half, message):
  with pytest.raises(ValueError, match=f'config.parallel.devices: {message}'):
    parallel.choose_devices(requested, half)


class _Gpu:
  process_index = 0

  def __init__(self, used):
    self._used = used

  def memory_stats(self):
    return {'bytes_limit': 100, 'bytes_in_use': self._used}


def test_free_bytes(tmp_path):
  assert parallel.free_bytes([_Gpu(10), _Gpu(30)]) == 70
  cpus = jax.local_devices()
  free = parallel.free_bytes(cpus[:1])
  assert 0 < free <= os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  assert parallel.free_bytes(cpus) == pytest.approx(free / 4, rel=0.2)
  file = tmp_path / 'numbers'
  for text, after, expected in (
    ('123\n', '', 123),
    ('max\n', '', np.inf),
    ('A: 5 kB\nB: 6 kB', 'B:', 6),
    ('A: 5 kB', 'B:', np.inf),
  ):
    file.write_text(text)
    assert memory.read_number(file, after) == expected
  assert memory.read_number(tmp_path / 'none') == np.inf


@pytest.mark.parametrize('backend', ['pmap', 'shard_map'])
def test_update_on_several_devices(backend):
  """The state stays replicated and the update is traced once."""
  count = 2
  placement = parallel.place(backend, jax.local_devices()[:count])
  spec = learner_test._SPEC
  agent = agents.efficient_imitate.make_agent(learner_test.small(), spec)

  @chex.assert_max_traces(n=1)
  def update_once(state, key, replay, demonstrations):
    return agent.update(state, key, replay, demonstrations, parallel.AXIS_NAME)

  update = placement.map_update(update_once)
  state = placement.replicate(jax.jit(agent.init)(jax.random.key(0)))
  shards = placement.stack(learner_test.replay(0))
  demonstrations = placement.replicate(learner_test.replay(1))
  for i in range(2):
    state, shards, metrics = update(state, jax.random.key(i), shards, demonstrations)
  assert int(state.updates) == 2 and np.isfinite(metrics['loss/total'])
  seen = _METRICS.setdefault('searching', metrics)
  np.testing.assert_allclose(metrics['loss/gradient_norm'], seen['loss/gradient_norm'], rtol=1e-5)
  for leaf in jax.tree.leaves(state.params):
    copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
    assert len(copies) == count
    for copy in copies:
      np.testing.assert_array_equal(copy, copies[0])


@pytest.mark.parametrize('backend', ['pmap', 'shard_map'])
@pytest.mark.parametrize('sampling', ['uniform', 'prioritised'])
def test_d4pg_on_several_devices(backend, sampling):
  """Parameters stay equal on all devices; each device's replay is its own."""
  placement = parallel.place(backend, jax.local_devices())
  agent = agents.d4pg.make_agent(d4pg_test.small(sampling=sampling), d4pg_test._SPEC)
  update = placement.map_update(
    lambda *arguments: agent.update(*arguments, axis_name=parallel.AXIS_NAME)
  )
  state = placement.replicate(jax.jit(agent.init)(jax.random.key(0)))
  replay = placement.stack(d4pg_test.fill(agent.add, agent.init_replay(64), length=20))
  for i in range(2):
    state, replay, metrics = update(state, jax.random.key(i), replay, None)
  assert np.isfinite(metrics['loss/critic']) and int(state.updates) == 2
  for leaf in jax.tree.leaves(state.params):
    for shard in leaf.addressable_shards[1:]:
      np.testing.assert_array_equal(shard.data, leaf.addressable_shards[0].data)
  if sampling == 'prioritised':
    assert len(np.unique(replay.priority, axis=0)) == 4


def _agent_and_batch(name):
  """An agent, and the batch of one update: the replay's part and the demonstrations'."""
  ei, d4pg, bc = agents.efficient_imitate, agents.d4pg, agents.behavioural_cloning
  vectors, spec = learner_test.replay(0), learner_test._SPEC

  def draw(ring, rows, unroll, stack=1):
    keys = jax.random.split(jax.random.key(0))
    return [episodes.sample(ring, key, rows, unroll, stack) for key in keys]

  if name == 'ei_state':
    # The gradient penalty pairs rows at random.
    config = learner_test.small(**{'loss.gradient_penalty': 0.0})
    return ei.make_agent(config, spec), draw(vectors, 4, config.unroll_steps)
  if name == 'ei_image':
    still = {'loss.gradient_penalty': 0.0, 'shift': 0, 'intensity': 0.0}
    config, frames = learner_test.small_image(**still), learner_test._FRAMES
    batch = draw(learner_test.frames_replay(0), 4, config.unroll_steps, frames.stack)
    return ei.make_agent(config, frames), batch
  if name == 'bc':
    return bc.make_agent(bc.Config(policy=(16,), batch_size=8), spec), draw(vectors, 8, 0)
  if name == 'd4pg':
    ring = d4pg_test.fill(episodes.add, episodes.init(d4pg_test._SPEC, 60), length=30)
    agent = d4pg.make_agent(d4pg_test.small(batch_size=8), d4pg_test._SPEC)
    return agent, draw(ring, 8, 4)
  uniform = metamimic_test._D4PG
  agent = agents.metamimic.make_agent(
    agents.metamimic.Config(uniform, uniform), metamimic_test._SPEC
  )
  replay = metamimic_test._filled(agent, metamimic_test._episode(8, True))
  both = [draw(ring, 8, 1) for ring in replay]
  return agent, [type(replay)(*parts) for parts in zip(*both)]


@pytest.mark.parametrize('backend', ['pmap', 'shard_map'])
@pytest.mark.parametrize('name', ['ei_state', 'ei_image', 'd4pg', 'metamimic', 'bc'])
def test_same_batch_gives_the_same_update(monkeypatch, name, backend):
  """Adam would hide a gradient that is wrong by the number of devices; its norm does not."""
  agent, (own, experts) = _agent_and_batch(name)
  half, unroll = 4, learner_test.small().unroll_steps
  targets = losses.Targets(
    value=jnp.ones((half, unroll + 1)),
    actions=jnp.full((half, unroll + 1, 4, 2), 0.3),
    weights=jnp.full((half, unroll + 1, 4), 0.25),
    expert_value=jnp.ones((half, unroll + 1)),
  )

  def share(tree, rows):
    """This device's rows: devices do not draw at random now."""
    start = jax.lax.axis_index(parallel.AXIS_NAME) * rows
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, rows), tree)

  def make_targets(*arguments):
    return share(targets, len(arguments[-1].actions)), {}

  monkeypatch.setattr(episodes, 'sample', lambda windows, key, rows, *_: share(windows, rows))
  monkeypatch.setattr(learner_lib, 'make_targets', make_targets)

  def metrics_on(count):
    placement = parallel.place(backend, jax.local_devices()[:count])
    update = placement.map_update(
      lambda *arguments: agent.update(*arguments, axis_name=parallel.AXIS_NAME)
    )
    state = placement.replicate(jax.jit(agent.init)(jax.random.key(0)))
    expert = placement.replicate(experts)
    state, _, metrics = update(state, jax.random.key(1), placement.stack(own), expert)
    for leaf in jax.tree.leaves(state):
      for shard in leaf.addressable_shards:
        np.testing.assert_array_equal(shard.data, leaf.addressable_shards[0].data)
    return {name: value for name, value in metrics.items() if name.startswith('loss/')}

  one = _METRICS[name] = _METRICS[name] if name in _METRICS else metrics_on(1)
  four = metrics_on(4)
  norms = [float(value) for key, value in one.items() if key.endswith('gradient_norm')]
  assert norms and min(norms) > 0 and set(one) == set(four)
  for key, value in one.items():
    np.testing.assert_allclose(four[key], value, rtol=2e-4, atol=1e-6, err_msg=key)


def test_a_mix_of_platforms(monkeypatch):
  class Device(NamedTuple):
    platform: str

  mixed = [Device('cpu'), Device('gpu')]
  with pytest.raises(ValueError, match='devices: found cpu and gpu, expected one platform'):
    parallel.place('pmap', mixed)
  monkeypatch.setattr(jax, 'local_devices', lambda process: mixed)
  with pytest.raises(ValueError, match='devices: found cpu and gpu, expected one platform'):
    parallel.choose_devices(0, 8)


def test_unknown_backend():
  with pytest.raises(ValueError, match="config.parallel.backend: found 'xmap', expected pmap or"):
    parallel.place('xmap', jax.local_devices())


def test_first_copy_is_on_one_device():
  tree = parallel.place('pmap', jax.local_devices()).replicate({'x': jnp.arange(3.0)})
  copy = parallel.first_copy(tree)
  assert len(copy['x'].devices()) == 1
  np.testing.assert_array_equal(copy['x'], [0, 1, 2])
