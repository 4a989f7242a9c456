import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eimitate import agents
from eimitate import parallel
from eimitate.agents.efficient_imitate import losses
from tests.agents import test_d4pg as d4pg_test
from tests.agents import test_efficient_imitate_learner as learner_test


# What the first backend says, by the number of devices: the other must agree.
_METRICS = {}


def test_devices():
  assert len(jax.local_devices()) == 4
  assert len(parallel.choose_devices(0, 128)) == 4
  assert len(parallel.choose_devices(0, 6)) == 3
  assert len(parallel.choose_devices(2, 6)) == 2


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


@pytest.mark.parametrize('backend', ['pmap', 'shard_map'])
@pytest.mark.parametrize('count', [1, 2, 4])
def test_update_on_several_devices(count, backend):
  """The state stays replicated and the update is traced once."""
  placement = parallel.place(backend, jax.local_devices()[:count])
  spec = learner_test._SPEC
  agent = agents.efficient_imitate.make_agent(learner_test.small(), spec)

  @chex.assert_max_traces(n=1)
  def update_once(state, key, replay, demonstrations):
    return agent.update(state, key, replay, demonstrations, parallel.AXIS_NAME)

  update = placement.map_update(update_once)
  state = placement.replicate(agent.init(jax.random.key(0)))
  shards = placement.stack(learner_test.replay(0))
  demonstrations = placement.replicate(learner_test.replay(1))
  for i in range(2):
    state, shards, metrics = update(state, jax.random.key(i), shards, demonstrations)
  assert int(state.updates) == 2 and np.isfinite(metrics['loss/total'])
  seen = _METRICS.setdefault(count, metrics)
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
  state = placement.replicate(agent.init(jax.random.key(0)))
  replay = placement.stack(d4pg_test.fill(agent.add, agent.init_replay(64), length=20))
  for i in range(2):
    state, replay, metrics = update(state, jax.random.key(i), replay, None)
  assert np.isfinite(metrics['loss/critic']) and int(state.updates) == 2
  for leaf in jax.tree.leaves(state.params):
    for shard in leaf.addressable_shards[1:]:
      np.testing.assert_array_equal(shard.data, leaf.addressable_shards[0].data)
  if sampling == 'prioritised':
    assert len(np.unique(replay.priority, axis=0)) == 4


@pytest.mark.parametrize('backend', ['pmap', 'shard_map'])
@pytest.mark.parametrize('count', [2, 4])
def test_same_batch_gives_the_same_gradient_norm(count, backend):
  """Adam would hide a gradient that is wrong by the number of devices."""
  config = learner_test.small(**{'loss.gradient_penalty': 0.0})
  networks = agents.efficient_imitate.make_networks(config.networks, learner_test._SPEC)
  params = networks.init(jax.random.key(0))
  half, horizon = 8, config.unroll_steps
  windows = [
    learner_test.episodes.sample(learner_test.replay(i), jax.random.key(i), half, horizon)
    for i in range(2)
  ]
  targets = losses.Targets(
    value=jnp.ones((half, horizon + 1)),
    actions=jnp.full((half, horizon + 1, 4, 2), 0.3),
    weights=jnp.full((half, horizon + 1, 4), 0.25),
    expert_value=jnp.ones((half, horizon + 1)),
  )

  def gradient_norm(axis_name, batch):
    agent, expert, targets = batch
    gradient = jax.grad(
      lambda p: losses.total_loss(
        p, params, config.loss, networks, 100.0, jax.random.key(0), agent, expert, targets,
        jnp.float32(1), axis_name,
      )[0]
    )(params)  # fmt: skip
    if axis_name:
      gradient = jax.lax.pmean(gradient, axis_name)
    return optax.tree.norm(gradient)

  batch = (*windows, targets)
  alone = gradient_norm(None, batch)
  shards = jax.tree.map(lambda x: x.reshape((count, -1) + x.shape[1:]), batch)
  placement = parallel.place(backend, jax.local_devices()[:count])
  mapped = placement.map_shards(lambda shard: gradient_norm(parallel.AXIS_NAME, shard))
  np.testing.assert_allclose(mapped(shards), float(alone), rtol=1e-4)


def test_unknown_backend():
  with pytest.raises(ValueError, match="config.parallel.backend: found 'xmap', expected pmap or"):
    parallel.place('xmap', jax.local_devices())


def test_first_copy_is_on_one_device():
  tree = parallel.place('pmap', jax.local_devices()).replicate({'x': jnp.arange(3.0)})
  copy = parallel.first_copy(tree)
  assert len(copy['x'].devices()) == 1
  np.testing.assert_array_equal(copy['x'], [0, 1, 2])
