import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import agents
from eimitate import types
from eimitate.replay import episodes

_SPEC = types.EnvironmentSpec(3, 1, (0.0, 1.0, -1.0), (1.0, 2.0, 0.5))
_bc = agents.behavioural_cloning


def test_clones():
  rng = np.random.default_rng(0)
  observations = rng.normal(size=(201, 3)).astype(np.float32)
  actions = np.tanh(observations[:-1, :1])
  ones = np.ones(200, np.float32)
  trajectory = types.Trajectory(observations, actions, ones, ones)
  ring = episodes.add(episodes.init(_SPEC, 201), episodes.to_rows(trajectory), jnp.int32(201))
  agent = _bc.make_agent(_bc.Config(policy=(32,)), _SPEC)

  @jax.jit
  def train(state):
    def step(state, key):
      state, _, metrics = agent.update(state, key, None, ring)
      return state, metrics

    return jax.lax.scan(step, state, jax.random.split(jax.random.key(1), 1000))

  state, metrics = train(jax.jit(agent.init)(jax.random.key(0)))
  assert metrics['loss/squared_error'][-1] < 0.003 < metrics['loss/squared_error'][0]
  cloned = agent.act_greedily(agent.params(state), jax.random.key(2), observations[:-1])
  np.testing.assert_allclose(cloned, actions, atol=0.25)


def test_bad_settings():
  with pytest.raises(ValueError, match='config.learning_rate: found 0'):
    _bc.make_agent(_bc.Config(learning_rate=0.0), _SPEC)
  with pytest.raises(ValueError, match=r'config.policy: found \(-5,\)'):
    _bc.make_agent(_bc.Config(policy=(-5,)), _SPEC)
  with pytest.raises(ValueError, match="config.reward: found 'task', expected tracking, or none"):
    _bc.make_agent(_bc.Config(reward='task'), _SPEC)
  with pytest.raises(ValueError, match='observation_mean, observation_scale'):
    _bc.make_agent(_bc.Config(), types.EnvironmentSpec(3, 1))
