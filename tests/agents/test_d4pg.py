import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import agents
from eimitate import configuration
from eimitate import types
from eimitate.agents.d4pg import experience
from eimitate.agents.d4pg import learner
from eimitate.agents.d4pg import losses
from eimitate.replay import episodes

_SPEC = types.EnvironmentSpec(3, 2)
_d4pg = agents.d4pg


def small(**overrides):
  sizes = {'policy': (16,), 'critic': (16,), 'num_atoms': 21, 'highest_value': 10.0}
  return configuration.override(_d4pg.Config(), sizes | {'batch_size': 16} | overrides)


def bandit_replay():
  return fill(episodes.add, episodes.init(_SPEC, 60), length=30)


def fill(add, replay, length, seed=0):
  """One-step episodes of a bandit: the reward is highest at action (0.5, -0.5)."""
  rng = np.random.default_rng(seed)
  actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
  for action in actions:
    reward = 1 - np.square(action - np.array([0.5, -0.5])).sum(keepdims=True)
    rows = types.Trajectory(
      rng.normal(size=(2, 3)).astype(np.float32),
      action[None],
      reward.astype(np.float32),
      np.zeros(1, np.float32),
    )
    replay = add(replay, episodes.to_rows(rows), jnp.int32(2))
  return replay


def _carry(updated):
  state, replay, metrics = updated
  return (state, replay), metrics


def _transition(seed, batch=7):
  keys = jax.random.split(jax.random.key(seed), 5)
  return losses.Transition(
    jax.random.normal(keys[0], (batch, 3)),
    jax.random.uniform(keys[1], (batch, 2), minval=-1),
    jax.random.uniform(keys[2], (batch,)),
    jnp.full(batch, 0.9**5),
    jax.random.normal(keys[3], (batch, 3)),
  )


def test_critic_loss_by_loops():
  networks = _d4pg.make_networks(small(), _SPEC)
  batch = _transition(0)

  @jax.jit
  def evaluate(key):
    params, target = networks.init(key), networks.init(jax.random.fold_in(key, 1))
    loss = losses.critic_loss(params, target, networks, batch)
    action = networks.policy(target, batch.next_observation)
    following = jax.nn.softmax(networks.critic(target, batch.next_observation, action))
    predicted = jax.nn.log_softmax(networks.critic(params, batch.observation, batch.action))
    return loss, following, predicted

  loss, following, predicted = jax.tree.map(np.asarray, evaluate(jax.random.key(0)))
  for b in range(7):
    projected = np.zeros(21)
    for mass, atom in zip(following[b], np.linspace(0, 10, 21)):
      position = np.clip(float(batch.reward[b]) + 0.9**5 * atom, 0, 10) / 0.5
      lower = min(int(position), 19)
      projected[lower] += mass * (lower + 1 - position)
      projected[lower + 1] += mass * (position - lower)
    entropy = -(projected * np.log(np.where(projected > 0, projected, 1))).sum()
    cross_entropy = -(projected * predicted[b]).sum()
    np.testing.assert_allclose(loss[b], cross_entropy - entropy, rtol=1e-3)


def test_each_loss_trains_its_own_network():
  networks, batch = _d4pg.make_networks(small(), _SPEC), _transition(0)

  @jax.jit
  def gradients(key):
    params = networks.init(key)
    critic = lambda params: losses.critic_loss(params, params, networks, batch).mean()
    policy = lambda params: losses.policy_loss(params, networks, batch.observation).mean()
    return jax.grad(critic)(params), jax.grad(policy)(params)

  norm = lambda tree: sum(float(jnp.abs(x).sum()) for x in jax.tree.leaves(tree))
  critic, policy = gradients(jax.random.key(0))
  assert norm(critic['critic']) > 0 and norm(critic['policy']) == 0
  assert norm(policy['critic']) == 0 and norm(policy['policy']) > 0


def test_window_as_one_transition():
  ring = bandit_replay()
  window = episodes.gather(ring, jnp.array([0, 2]), 4)
  batch = losses.from_window(window, 0.99, 2.0)
  np.testing.assert_allclose(batch.reward, 2 * ring.rows.reward[jnp.array([0, 2])], rtol=1e-6)
  np.testing.assert_array_equal(batch.discount, 0)  # These episodes terminate.
  np.testing.assert_array_equal(batch.next_observation, ring.rows.observation[jnp.array([1, 3])])


@pytest.mark.parametrize('sampling', ['uniform', 'prioritised'])
def test_learns_a_bandit(sampling):
  sizes = {'lowest_value': -5.0, 'highest_value': 5.0, 'num_atoms': 51, 'critic': (32,)}
  config = small(learning_rate=1e-2, sampling=sampling, **sizes)
  agent = _d4pg.make_agent(config, _SPEC)
  replay = fill(agent.add, agent.init_replay(400), length=200)

  @jax.jit
  def train(state):
    keys = jax.random.split(jax.random.key(1), 2000)
    one = lambda carry, key: _carry(agent.update(carry[0], key, carry[1], None))
    return jax.lax.scan(one, (state, replay), keys)

  (state, _), metrics = train(jax.jit(agent.init)(jax.random.key(0)))
  actions = agent.act_greedily(
    agent.params(state), jax.random.key(2), jax.random.normal(jax.random.key(3), (50, 3))
  )
  np.testing.assert_allclose(actions.mean(0), [0.5, -0.5], atol=0.25)
  assert metrics['loss/critic'][-20:].mean() < metrics['loss/critic'][:20].mean()


def test_noise_is_the_temperature():
  agent = _d4pg.make_agent(small(), _SPEC)
  params = agent.params(jax.jit(agent.init)(jax.random.key(0)))
  observations = jnp.zeros((4000, 3))
  greedy = agent.act_greedily(params, jax.random.key(1), observations)
  noisy = agent.act(params, jax.random.key(1), observations, 0.1)
  assert float((noisy - greedy).std()) == pytest.approx(0.1, rel=0.05)
  assert float(jnp.abs(agent.act(params, jax.random.key(1), observations, 5.0)).max()) == 1


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'n_step': 0}, 'config.n_step: found 0'),
    ({'discount': 1.0}, 'config.discount: found 1.0'),
    ({'num_atoms': 1}, 'config.num_atoms: found 1'),
    ({'highest_value': -1.0}, 'config.highest_value: found -1.0'),
    ({'policy': ()}, 'config.policy'),
    ({'critic': (16, 0)}, 'config.critic: found (16, 0)'),
    ({'policy': (12.5,)}, 'config.policy: found (12.5,), expected whole numbers'),
    ({'sampling': 'greedy'}, "config.sampling: found 'greedy', expected uniform or"),
    ({'priority_exponent': 2.0}, 'config.priority_exponent: found 2.0'),
  ],
)
def test_bad_settings(overrides, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    _d4pg.make_agent(small(**overrides), _SPEC)


def test_prioritised_items_are_the_rings_windows():
  """Both ways to store an episode give the same n-step transitions."""
  rng = np.random.default_rng(0)
  trajectory = types.Trajectory(
    rng.normal(size=(10, 3)).astype(np.float32),
    rng.uniform(-1, 1, (9, 2)).astype(np.float32),
    rng.uniform(size=9).astype(np.float32),
    np.ones(9, np.float32),
  )
  rows = episodes.pad_rows(episodes.to_rows(trajectory), 14)
  kinds = [experience.make_experience(small(sampling=x), _SPEC) for x in ('uniform', 'prioritised')]
  ring, items = (kind.add(kind.init(40), rows, jnp.int32(10)) for kind in kinds)
  expected = losses.from_window(episodes.gather(ring, jnp.arange(9), 4), 0.99, 1.0)
  assert int((items.priority > 0).sum()) == 9
  for stored, wanted in zip(items.items, expected, strict=True):
    np.testing.assert_allclose(stored[:9], wanted, rtol=1e-6)


def test_an_update_changes_the_priorities_of_what_it_saw():
  agent = _d4pg.make_agent(small(sampling='prioritised', batch_size=4), _SPEC)
  before = fill(agent.add, agent.init_replay(64), length=32)
  _, after, _ = jax.jit(agent.update)(
    jax.jit(agent.init)(jax.random.key(0)), jax.random.key(1), before, None
  )
  changed = int((before.priority != after.priority).sum())
  assert 1 <= changed <= 4
  for old, new in zip(before.items, after.items, strict=True):
    np.testing.assert_array_equal(old, new)


def test_importance_weights_by_hand():
  weights = learner.importance_weights(jnp.array([0.25, 1.0, 4.0]), 0.5)
  np.testing.assert_allclose(weights, [1.0, 0.5, 0.25], rtol=1e-6)
  np.testing.assert_array_equal(learner.importance_weights(jnp.ones(3), 0.4), 1)


_FRAMES = types.EnvironmentSpec(0, 2, frame=(16, 16, 3), stack=2)
_TOWER = {'tower.channels': (4,), 'tower.blocks': 1, 'tower.output': 8}


def _frames_rows():
  """One episode of random frames."""
  rng = np.random.default_rng(0)
  trajectory = types.Trajectory(
    rng.integers(0, 256, (9, 16, 16, 3), np.uint8),
    rng.uniform(-1, 1, (8, 2)).astype(np.float32),
    rng.uniform(size=8).astype(np.float32),
    np.ones(8, np.float32),
  )
  return trajectory, episodes.to_rows(trajectory)


def test_learns_from_frames():
  agent = _d4pg.make_agent(small(batch_size=2, n_step=2, **_TOWER), _FRAMES)
  _, rows = _frames_rows()

  @jax.jit
  def learn(key):
    before = agent.init(key)
    replay = agent.add(agent.init_replay(20), rows, jnp.int32(9))
    after, _, metrics = agent.update(before, key, replay, None)
    acted = agent.act(agent.params(after), key, jnp.zeros((2, 16, 16, 6), jnp.uint8), 0.1)
    moved = lambda a, b: jnp.abs(a - b).max()
    return jax.tree.map(moved, before.params, after.params), metrics, acted

  moved, metrics, acted = learn(jax.random.key(0))
  assert np.isfinite(metrics['loss/critic']) and acted.shape == (2, 2)
  for path, change in jax.tree_util.tree_leaves_with_path(moved):
    # What is normalised afterwards does not feel its bias.
    assert change > 0 or 'bias' in jax.tree_util.keystr(path), path


def test_frames_are_stacked_as_they_were_seen():
  source = experience.make_experience(small(n_step=2, **_TOWER), _FRAMES)
  trajectory, rows = _frames_rows()

  @jax.jit
  def sample(key):
    replay = source.add(source.init(20), rows, jnp.int32(9))
    return source.sample(replay, key, 16).transition

  batch = jax.tree.map(np.asarray, sample(jax.random.key(0)))
  seen = trajectory.observations
  for action, observation, following in zip(
    batch.action, batch.observation, batch.next_observation
  ):
    [t] = np.flatnonzero((trajectory.actions == action).all(1))
    stack = lambda t: np.concatenate([seen[max(t - 1, 0)], seen[t]], -1)
    np.testing.assert_array_equal(observation, stack(t))
    np.testing.assert_array_equal(following, stack(min(t + 2, 8)))


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'tower.channels': ()}, 'config.tower.channels: found .., expected at least one section'),
    ({'tower.normalisation': 'batch'}, "found 'batch', expected instance or none"),
    ({'tower.blocks': -1}, 'config.tower.blocks: found -1'),
  ],
)
def test_bad_towers(overrides, message):
  with pytest.raises(ValueError, match=message):
    _d4pg.make_agent(small(**overrides), _FRAMES)


def test_a_share_of_the_batch_from_demonstrations():
  """Only they know a good action; their reward tells, and the replay's priorities are its own."""
  config = small(demonstration_fraction=0.25, sampling='prioritised', n_step=1)
  agent = _d4pg.make_agent(config, _SPEC)
  replay = fill(agent.add, agent.init_replay(64), length=20)
  shown = types.Trajectory(
    np.zeros((9, 3), np.float32),
    np.full((8, 2), 0.25, np.float32),
    np.ones(8, np.float32),
    np.ones(8, np.float32),
  )
  demonstrations = episodes.of(_SPEC, [shown])
  made = experience.make_experience(config, _SPEC)

  @jax.jit
  def draw(replay, demonstrations):
    own = made.sample(replay, jax.random.key(0), 12)
    shown_key = jax.random.key(1)
    return own, experience.with_demonstrations(own, demonstrations, shown_key, 4, config, _SPEC)

  own, batch = draw(replay, demonstrations)
  assert len(batch.index) == 12 and len(batch.likelihood) == 16
  np.testing.assert_array_equal(batch.transition.action[12:], 0.25)
  np.testing.assert_array_equal(batch.transition.reward[12:], 1)
  np.testing.assert_array_equal(batch.transition.action[:12], own.transition.action)
  state = jax.jit(agent.init)(jax.random.key(2))
  _, after, _ = jax.jit(agent.update)(state, jax.random.key(3), replay, demonstrations)
  assert (after.priority != replay.priority).sum() > 0
  with pytest.raises(ValueError, match='demonstrations: found none, expected some'):
    jax.eval_shape(agent.update, state, jax.random.key(3), replay, None)
  assert config.shared_rows == 4  # Of four rows every device has as many.
  for fraction in (1.0, 0.01):
    with pytest.raises(ValueError, match='demonstration_fraction: found .* at least one of them'):
      _d4pg.make_agent(small(demonstration_fraction=fraction), _SPEC)
