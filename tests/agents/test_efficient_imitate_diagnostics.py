import jax
import numpy as np
import pytest

from eimitate import agents
from eimitate import types
from eimitate.agents.efficient_imitate import diagnostics
from eimitate.agents.efficient_imitate import learner as learner_lib
from eimitate.replay import episodes
from tests.agents import test_efficient_imitate_learner as learner_test

_ei = agents.efficient_imitate
_SPEC = learner_test._SPEC


def _trajectories(lengths, terminal=False):
  rng = np.random.default_rng(0)
  for length in lengths:
    discounts = np.ones(length, np.float32)
    discounts[-1] = 0.0 if terminal else 1.0
    observations = rng.normal(size=(length + 1, 3)).astype(np.float32)
    actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    yield types.Trajectory(observations, actions, np.zeros(length, np.float32), discounts)


def _agent(**overrides):
  overrides = {'networks.zero_last_layers': False} | overrides
  config = learner_test.small(**overrides)
  agent = _ei.make_agent(config, _SPEC)
  return config, agent, jax.jit(agent.init)(jax.random.key(0))


@pytest.mark.parametrize('terminal', [False, True])
def test_value_calibration_by_hand(terminal):
  config, _, state = _agent()
  networks = _ei.make_networks(config.networks, _SPEC)
  model = learner_lib.make_model(config, networks)
  trajectories = list(_trajectories([5, 8], terminal))
  evaluated = episodes.of(_SPEC, trajectories, capacity=20)
  params = state.params
  found = diagnostics.value_calibration(networks, model, params, evaluated)
  predicted, realised, rewards = [], [], []
  for trajectory in trajectories:
    latents = networks.represent(params, trajectory.observations)
    values = np.asarray(model.value(params, latents), np.float64)
    reward, _ = model.step(params, latents[:-1], trajectory.actions)
    length = len(reward)
    for t in range(length):
      if length - t <= t:  # The second half.
        continue
      tail = 0.0 if terminal else config.discount ** (length - t) * values[-1]
      predicted.append(values[t])
      realised.append(
        sum(config.discount ** (k - t) * float(reward[k]) for k in range(t, length)) + tail
      )
      rewards.append(float(reward[t]))
  assert len(predicted) == 3 + 4
  expected = {
    'value/predicted': np.mean(predicted),
    'value/realised': np.mean(realised),
    'value/error': np.sqrt(np.mean(np.subtract(predicted, realised) ** 2)),
    'value/correlation': np.corrcoef(predicted, realised)[0, 1],
    'discriminator/reward_evaluation': np.mean(rewards),
  }
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    assert float(found[name]) == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_of_a_whole_agent():
  """A term's gradient is the whole loss's where the others' coefficients are zero."""
  only = dict.fromkeys(
    (
      'loss.policy',
      'loss.value',
      'loss.expert_value',
      'loss.gradient_penalty',
      'loss.consistency',
      'loss.bc',
    ),
    0.0,
  )
  settings = {'loss.expert_value': 1.0, 'optimiser.weight_decay': 0.0}
  config, agent, state = _agent(**settings)
  evaluated = episodes.of(_SPEC, list(_trajectories([5])), 10)
  batch = (jax.random.key(3), learner_test.replay(0), learner_test.replay(1))
  found = jax.jit(agent.diagnose)(state, *batch, evaluated)
  assert all(np.isfinite(value) for value in found.values())
  terms = {name.partition('/')[2] for name in found if name.startswith('gradient/')}
  assert terms == {name.partition('.')[2] for name in only} | {'discriminator'}

  _, alone, _ = _agent(**settings | only)
  _, _, metrics = jax.jit(alone.update)(state, *batch)
  norm = float(metrics['loss/gradient_norm'])
  assert norm > 0 and float(found['gradient/discriminator']) == pytest.approx(norm, rel=1e-4)
  _, _, metrics = jax.jit(agent.update)(state, *batch)
  errors = [float(found[f'model/error_{h + 1}']) for h in range(3)]
  # The same batch, whose windows end at different steps: within the smallest and largest.
  assert min(errors) <= float(metrics['model/unexplained_variance']) <= max(errors)
  # The same searches, with a target network that is still the same.
  networks = _ei.make_networks(config.networks, _SPEC)
  model = learner_lib.make_model(config, networks)
  sample_key = jax.random.split(jax.random.split(batch[0])[0])[0]
  windows = episodes.sample(batch[1], sample_key, 4, config.unroll_steps)
  value = model.value(state.params, networks.represent(state.params, windows.observations))
  improvement = float(metrics['search/value'] - value.mean())
  assert float(found['search/improvement']) == pytest.approx(improvement, abs=1e-4)


def test_a_model_in_which_nothing_moves():
  """It misses all of the change, however small that is beside the latents' variance."""
  config, agent, state = _agent(**{'networks.residual_dynamics': True})
  networks = _ei.make_networks(config.networks, _SPEC)
  params = state.params | {'dynamics': jax.tree.map(np.zeros_like, state.params['dynamics'])}
  windows = [
    episodes.sample(learner_test.replay(i), jax.random.key(i), 4, config.unroll_steps)
    for i in range(2)
  ]
  found = diagnostics.model_error(networks, params, *windows)
  for h in range(config.unroll_steps):
    assert float(found[f'model/change_error_{h + 1}']) == pytest.approx(1.0)
    assert float(found[f'model/error_{h + 1}']) < 10


@pytest.mark.parametrize('knows', [False, True])
def test_whether_a_model_knows_what_actions_do(knows):
  """Points that move by their actions, seen as they are."""
  rng = np.random.default_rng(0)

  def window(rows, horizon):
    actions = rng.uniform(-1, 1, (rows, horizon + 1, 2)).astype(np.float32)
    moved = np.concatenate([np.zeros((rows, 1, 2), np.float32), actions.cumsum(1)], 1)
    ones = np.ones((rows, horizon + 2), np.float32)
    return types.Window(moved + 5, actions, ones[:, 1:], ones[:, 1:], ones, ones[:, 1:])

  see = lambda params, observations: observations
  networks = _ei.make_networks(learner_test.small().networks, _SPEC)._replace(
    represent=see,
    represent_window=see,
    dynamics=lambda params, latent, action: latent + action if knows else latent,
  )
  agent, expert = window(3, 2), window(2, 2)
  found = diagnostics.model_error(networks, {}, agent, expert)
  actions = np.concatenate([agent.actions, expert.actions])[:, :2].cumsum(1)
  others = np.roll(actions, 1, 0)
  for h in range(2):
    change = (actions[:, h] ** 2).sum()
    expected = ((others - actions)[:, h] ** 2).sum() / change if knows else 1
    own = float(found[f'model/change_error_{h + 1}'])
    assert own == pytest.approx(0 if knows else 1, abs=1e-6)
    assert float(found[f'model/other_actions_error_{h + 1}']) == pytest.approx(expected, rel=1e-4)


def test_from_frames():
  spec = types.EnvironmentSpec(0, 2, frame=(12, 12, 3), stack=2)
  settings = {'networks.encoder': (4, 4), 'networks.batch_norm': True}
  config = learner_test.small('paper', **settings)
  agent = _ei.make_agent(config, spec)
  rng = np.random.default_rng(0)

  def trajectory(length):
    frames = rng.integers(0, 255, (length + 1, 12, 12, 3), np.uint8)
    actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    return types.Trajectory(
      frames, actions, np.zeros(length, np.float32), np.ones(length, np.float32)
    )

  ring = episodes.of(spec, [trajectory(6), trajectory(4)])
  state = jax.jit(agent.init)(jax.random.key(0))
  found = jax.jit(agent.diagnose)(state, jax.random.key(1), ring, ring, ring)
  assert all(np.isfinite(value) for value in found.values())
  assert float(found['value/predicted']) == pytest.approx(0, abs=1e-3)  # Its last layer is zero.
  assert float(found['value/realised']) > 1
