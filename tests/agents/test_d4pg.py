import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import agents
from eimitate import configuration
from eimitate import types
from eimitate.agents.d4pg import losses
from eimitate.replay import episodes

_SPEC = types.EnvironmentSpec(3, 2)
_d4pg = agents.d4pg


def small(**overrides):
  sizes = {'policy': (16,), 'critic': (16,), 'num_atoms': 21, 'highest_value': 10.0}
  return configuration.override(_d4pg.Config(), sizes | {'batch_size': 16} | overrides)


def bandit_replay(seed=0, length=30):
  """One-step episodes of a bandit: the reward is highest at action (0.5, -0.5)."""
  rng = np.random.default_rng(seed)
  ring = episodes.init(_SPEC, 2 * length)
  actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
  for action in actions:
    reward = 1 - np.square(action - np.array([0.5, -0.5])).sum(keepdims=True)
    rows = types.Trajectory(
      rng.normal(size=(2, 3)).astype(np.float32),
      action[None],
      reward.astype(np.float32),
      np.zeros(1, np.float32),
    )
    ring = episodes.add(ring, episodes.to_rows(rows), jnp.int32(2))
  return ring


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
    np.testing.assert_allclose(loss[b], -(projected * predicted[b]).sum(), rtol=1e-4)


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


def test_learns_a_bandit():
  config = small(
    learning_rate=1e-2, lowest_value=-5.0, highest_value=5.0, num_atoms=51, critic=(32,)
  )
  agent = _d4pg.make_agent(config, _SPEC)
  ring = bandit_replay(length=200)

  @jax.jit
  def train(state):
    keys = jax.random.split(jax.random.key(1), 2000)
    return jax.lax.scan(lambda s, key: agent.update(s, key, ring, None), state, keys)

  state, metrics = train(agent.init(jax.random.key(0)))
  actions = agent.act_greedily(
    agent.params(state), jax.random.key(2), jax.random.normal(jax.random.key(3), (50, 3))
  )
  np.testing.assert_allclose(actions.mean(0), [0.5, -0.5], atol=0.25)
  assert metrics['loss/critic'][-20:].mean() < metrics['loss/critic'][:20].mean()


def test_noise_is_the_temperature():
  agent = _d4pg.make_agent(small(), _SPEC)
  params = agent.params(agent.init(jax.random.key(0)))
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
  ],
)
def test_bad_settings(overrides, message):
  with pytest.raises(ValueError, match=message.replace('(', r'\(')):
    _d4pg.make_agent(small(**overrides), _SPEC)
