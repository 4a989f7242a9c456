import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import agents
from eimitate import configuration
from eimitate import types
from eimitate.agents.efficient_imitate import learner as learner_lib
from eimitate.replay import episodes

_SPEC = types.EnvironmentSpec(3, 2, (0.0, 1.0, -1.0), (1.0, 2.0, 0.5))
_ei = agents.efficient_imitate


def small(variant='tuned', **overrides):
  sizes = {
    f'networks.{name}': (16,)
    for name in (
      'representation',
      'dynamics',
      'value',
      'policy',
      'discriminator',
      'projector',
      'predictor',
    )
  }
  sizes |= {
    'networks.latent': 8,
    'networks.value_bins': 41,
    'batch_size': 8,
    'search.num_actions': 4,
  }
  sizes |= {'search.num_simulations': 4, 'search.max_considered_actions': 4, 'unroll_steps': 3}
  sizes |= {'search.depth': 3, 'search.num_sequences': 16, 'search.num_elites': 4}
  return configuration.override(getattr(_ei, variant)(), sizes | overrides)


def replay(seed, lengths=(6, 9), terminal=False):
  rng = np.random.default_rng(seed)
  ring = episodes.init(_SPEC, 40)
  for length in lengths:
    discounts = np.ones(length, np.float32)
    discounts[-1] = 0.0 if terminal else 1.0
    trajectory = types.Trajectory(
      rng.normal(size=(length + 1, 3)).astype(np.float32),
      rng.uniform(-1, 1, (length, 2)).astype(np.float32),
      np.random.default_rng(length).uniform(size=length).astype(np.float32),
      discounts,
    )
    ring = episodes.add(ring, episodes.to_rows(trajectory), jnp.int32(length + 1))
  return ring


@pytest.mark.parametrize('variant', ['tuned', 'paper', 'released'])
def test_updates_and_acts(variant):
  agent = _ei.make_agent(small(variant), _SPEC)
  state = jax.jit(agent.init)(jax.random.key(0))
  update = jax.jit(agent.update)
  for i in range(3):
    state, _, metrics = update(state, jax.random.key(i), replay(0), replay(1))
  assert int(state.updates) == 3
  assert all(np.isfinite(value) for value in metrics.values())
  observations = jnp.zeros((5, 3))
  for actions in (
    jax.jit(agent.act)(agent.params(state), jax.random.key(0), observations, 1.0),
    jax.jit(agent.act_greedily)(agent.params(state), jax.random.key(0), observations),
  ):
    assert actions.shape == (5, 2) and (np.abs(actions) <= 1).all()


def test_target_network_is_copied_at_its_interval():
  agent = _ei.make_agent(small(target_update_interval=2), _SPEC)
  state = jax.jit(agent.init)(jax.random.key(0))
  history = [state]
  for i in range(4):
    state, _, _ = jax.jit(agent.update)(state, jax.random.key(i), replay(0), replay(1))
    history.append(state)
  same = lambda a, b: all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))
  assert same(history[1].target_params, history[0].params)
  assert same(history[2].target_params, history[0].params)
  assert same(history[3].target_params, history[2].params)
  assert not same(history[3].target_params, history[1].params)


def test_the_average_of_the_parameters_acts():
  agent = _ei.make_agent(small('paper', **{'optimiser.averaging': 0.2}), _SPEC)
  state = jax.jit(agent.init)(jax.random.key(0))
  expected = np.asarray(state.params['dynamics']['Dense_0']['bias'])
  # 1/10 and 2/11 of the average stay at first, then what was asked for.
  for i, kept in enumerate((1 / 10, 2 / 11, 0.2, 0.2)):
    state, _, _ = jax.jit(agent.update)(state, jax.random.key(i), replay(0), replay(1))
    latest = np.asarray(state.params['dynamics']['Dense_0']['bias'])
    expected = kept * expected + (1 - kept) * latest
    acting = agent.params(state)['dynamics']['Dense_0']['bias']
    np.testing.assert_allclose(acting, expected, rtol=1e-5, atol=1e-9)
  assert (acting != latest).any()
  latest_acts = _ei.make_agent(small('paper'), _SPEC)
  state = latest_acts.init(jax.random.key(0))
  assert latest_acts.params(state) is state.params


def _targets(config, terminal=False, lengths=(6,), start=3):
  networks = _ei.make_networks(config.networks, _SPEC)
  search = learner_lib.make_search(config.search, learner_lib.make_model(config, networks))
  params, target = (networks.init(jax.random.key(i)) for i in range(2))
  agent = episodes.gather(replay(0, lengths, terminal), jnp.array([start]), config.unroll_steps)
  expert = episodes.gather(replay(1), jnp.array([2]), config.unroll_steps)
  made, _ = learner_lib.make_targets(
    config, networks, search, params, target, jax.random.key(2), agent, expert
  )
  return networks, search, params, target, agent, made


@pytest.mark.parametrize('target_discriminator', [True, False])
def test_value_target_by_hand(target_discriminator):
  config = small(target_discriminator=target_discriminator, **{'networks.zero_last_layers': False})
  networks, search, params, target, agent, made = _targets(config)
  # The same search on its own: unique positions, one key.
  latents = networks.represent(target, agent.observations[0])
  output = search(target, jax.random.key(2), latents, noise=config.reanalyse_noise)
  rewarding = target if target_discriminator else params
  seen = networks.represent(rewarding, agent.observations[0, :-1])
  logit = networks.discriminate(rewarding, seen, agent.actions[0])
  value = np.asarray(output.value)[1:]
  expected = np.log1p(np.exp(logit)) + config.discount * value * agent.discounts[0]
  np.testing.assert_allclose(made.value[0], expected, rtol=1e-4)
  np.testing.assert_allclose(made.weights[0], output.weights[:-1], rtol=1e-5)


def test_recorded_rewards_are_what_targets_and_searches_are_made_of():
  config = small(reward='environment', **{'networks.zero_last_layers': False})
  networks, search, _, target, agent, made = _targets(config)
  latents = networks.represent(target, agent.observations[0])
  output = search(target, jax.random.key(2), latents, noise=config.reanalyse_noise)
  expected = agent.rewards[0] + config.discount * np.asarray(output.value)[1:] * agent.discounts[0]
  assert np.ptp(agent.rewards[0]) > 0
  np.testing.assert_allclose(made.value[0], expected, rtol=1e-4)
  reward, _ = learner_lib.make_model(config, networks).step(target, latents[0], agent.actions[0, 0])
  head = networks.discriminate(target, latents[0], agent.actions[0, 0])
  assert float(reward) == float(head)


def test_expert_value_target_by_hand():
  config = small(**{'networks.zero_last_layers': False})
  networks, _, _, target, _, made = _targets(config)
  expert = episodes.gather(replay(1), jnp.array([2]), config.unroll_steps)
  latents = networks.represent(target, expert.observations[0])
  value = learner_lib.make_model(config, networks).value(target, latents)
  logit = networks.discriminate(target, latents[:-1], expert.actions[0])
  expected = np.log1p(np.exp(logit)) + config.discount * np.asarray(value)[1:] * expert.discounts[0]
  np.testing.assert_allclose(made.expert_value[0], expected, rtol=1e-4)


def test_truncation_bootstraps_and_termination_does_not():
  config = small(**{'networks.zero_last_layers': False})
  # Row 5 is the last transition of an episode of 6.
  truncated, ended = (
    _targets(config, terminal, start=5)[-1].value[0, 0] for terminal in (False, True)
  )
  networks, _, _, target, agent, _ = _targets(config, start=5)
  latent = networks.represent(target, agent.observations[:, 0])
  reward = np.log1p(np.exp(networks.discriminate(target, latent, agent.actions[:, 0])))[0]
  np.testing.assert_allclose(ended, reward, rtol=1e-5)
  assert abs(truncated - reward) > 1e-3


def test_weight_decay_joins_after_clipping():
  config = _ei.Config().optimiser
  config = dataclasses.replace(config, max_gradient_norm=1.0, weight_decay=0.5, learning_rate=0.1)
  optimiser = learner_lib.make_optimiser(config)
  params, gradient = {'w': jnp.array([2.0, 0.0])}, {'w': jnp.array([3.0, 4.0])}
  state = optimiser.init(params)
  step, state = optimiser.update(gradient, state, params)
  # Clipped to (0.6, 0.8), decayed to (1.6, 0.8), momentum starts empty.
  np.testing.assert_allclose(step['w'], [-0.16, -0.08], rtol=1e-6)
  step, _ = optimiser.update(gradient, state, params)
  np.testing.assert_allclose(step['w'], [-0.16 * 1.9, -0.08 * 1.9], rtol=1e-6)


def test_networks_have_the_papers_sizes():
  networks = _ei.make_networks(_ei.paper().networks, types.EnvironmentSpec(24, 6))
  params = networks.init(jax.random.key(0))
  count = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}
  dense = lambda *sizes: sum((a + 1) * b for a, b in zip(sizes, sizes[1:]))
  assert count == {
    'representation': dense(24, 256, 128),
    'dynamics': dense(134, 256, 128),
    'value': dense(128, 128, 401),
    'policy': dense(128, 128, 12),
    'bc_policy': dense(128, 128, 12),
    'discriminator': dense(134, 128, 1),
    'projector': dense(128, 512, 128),
    'predictor': dense(128, 512, 128),
  }
  latent = jnp.ones((2, 128))
  np.testing.assert_array_equal(networks.policy(params, latent).log_std, 0)
  np.testing.assert_array_equal(networks.value_logits(params, latent), 0)


def test_observations_are_normalised_by_the_spec():
  config = small(**{'networks.normalise_observations': True}).networks
  networks = _ei.make_networks(config, _SPEC)
  plain = _ei.make_networks(dataclasses.replace(config, normalise_observations=False), _SPEC)
  params = networks.init(jax.random.key(0))
  observation = jnp.array([[2.0, 5.0, -2.0]])
  np.testing.assert_allclose(
    networks.represent(params, observation),
    plain.represent(params, jnp.array([[2.0, 2.0, -2.0]])),
    rtol=1e-5,
  )


@pytest.mark.parametrize(
  'field, value',
  [
    ('batch_size', 7),
    ('unroll_steps', 0),
    ('discount', 1.0),
    ('optimiser.name', 'lion'),
    ('search.acting_kind', 'guess'),
    ('loss.penalty_scale', 'big'),
    ('networks.value_bins', 400),
    ('networks.activation', 'step'),
  ],
)
def test_bad_settings_are_named(field, value):
  with pytest.raises(ValueError, match=f'config.{field}: found .*{value}.*expected'):
    _ei.make_agent(configuration.override(_ei.tuned(), {field: value}), _SPEC)


def test_tuned_latents_are_linear_and_its_dynamics_residual():
  networks = _ei.make_networks(_ei.tuned().networks, _SPEC)
  params = networks.init(jax.random.key(0))
  a, b, middle = (
    networks.represent(params, x) for x in jnp.array([[1.0] * 3, [3.0] * 3, [2.0] * 3])
  )
  np.testing.assert_allclose((a + b) / 2, middle, rtol=1e-4, atol=1e-5)
  plain = _ei.make_networks(
    dataclasses.replace(_ei.tuned().networks, residual_dynamics=False), _SPEC
  )
  change = plain.dynamics(params, a, jnp.ones(2))
  np.testing.assert_allclose(networks.dynamics(params, a, jnp.ones(2)), a + change, rtol=1e-5)


def test_acting_may_search_otherwise_than_reanalysing():
  observations, keys = jnp.ones((1, 3)), jax.random.split(jax.random.key(1), 2)
  config = small()
  same = configuration.override(config, {'search.acting_kind': ''})
  other = configuration.override(config, {'search.kind': 'mctx', 'search.acting_kind': 'gumbel'})
  acts = {}
  for name, settings in {'cem': config, 'same': same, 'other': other}.items():
    agent = _ei.make_agent(settings, _SPEC)
    params = agent.params(jax.jit(agent.init)(jax.random.key(0)))
    acts[name] = np.asarray(agent.act(params, keys[1], observations, 1.0))
  np.testing.assert_array_equal(acts['same'], acts['other'])
  assert (acts['cem'] != acts['same']).any()


def test_normalising_without_statistics_is_refused():
  with pytest.raises(ValueError, match='observation_mean.*expected 3 numbers each'):
    _ei.make_agent(small(**{'networks.normalise_observations': True}), types.EnvironmentSpec(3, 2))


def test_each_ablation_is_one_field():
  """Each of the paper's ablations is one field."""
  base = _ei.tuned()
  ablations = {
    'target_discriminator': False,
    'loss.discriminator_steps': 'single',
    'search.bc_fraction': 0.0,
    'search.num_actions': 8,
    'search.num_simulations': 8,
    'search.kind': 'mctx',
  }
  for field, value in ablations.items():
    _ei.make_agent(configuration.override(base, {field: value}), _SPEC)


_FRAMES = types.EnvironmentSpec(0, 2, frame=(16, 16, 3), stack=2)


def small_image(**overrides):
  settings = {'networks.encoder': (4, 4), 'networks.batch_norm': True, 'loss.consistency': 20.0}
  return small('paper', **settings, **{'networks.dynamics_activation': 'relu'}, **overrides)


def frames_replay(seed, lengths=(6, 9)):
  rng = np.random.default_rng(seed)
  ring = episodes.init(_FRAMES, 40)
  for length in lengths:
    trajectory = types.Trajectory(
      rng.integers(0, 256, (length + 1, 16, 16, 3)).astype(np.uint8),
      rng.uniform(-1, 1, (length, 2)).astype(np.float32),
      np.zeros(length, np.float32),
      np.ones(length, np.float32),
    )
    ring = episodes.add(ring, episodes.to_rows(trajectory), jnp.int32(length + 1))
  return ring


def test_frames_update_and_act():
  agent = _ei.make_agent(small_image(), _FRAMES)
  state = jax.jit(agent.init)(jax.random.key(0))
  updated, _, metrics = jax.jit(agent.update)(
    state, jax.random.key(1), frames_replay(0), frames_replay(1)
  )
  assert all(np.isfinite(value) for value in metrics.values())
  for name in ('representation', 'dynamics', 'projector', 'predictor', 'statistics'):
    changed = jax.tree.map(
      lambda a, b: bool((a != b).any()), updated.params[name], state.params[name]
    )
    assert any(jax.tree.leaves(changed)), name
  # They are averages of what was seen, and no step of the optimiser.
  assert float(updated.params['statistics']['projector']['BatchNorm_0']['var'].min()) > 0.5
  observations = jnp.zeros((3, 16, 16, 6), jnp.uint8)
  actions = agent.act(agent.params(updated), jax.random.key(2), observations, 1.0)
  assert actions.shape == (3, 2)


def test_the_learner_augments_what_the_actor_sees():
  """A background that does not move is nothing to either, however frames are moved and scaled."""
  mean = np.random.default_rng(0).uniform(size=_FRAMES.frame).round(2)
  spec = _FRAMES._replace(observation_mean=tuple(mean.ravel().tolist()), observation_scale=(0.01,))
  config = small_image(**{'networks.normalise_observations': True})
  networks = _ei.make_networks(config.networks, spec)
  frames = jnp.tile(jnp.round(jnp.asarray(mean) * 255).astype(jnp.uint8), (2, 3, 1, 1, 2))
  frames = frames.at[0, 1, 5, 5].add(40).at[0, 2, 5, 7].add(40)
  augmented = learner_lib.augment(config, jax.random.key(0), networks.prepare(frames))
  bright = np.abs(augmented) > 1
  assert bright.sum() == 2 * 6 and bright[0, 1].any((0, 1)).all()
  params = networks.init(jax.random.key(0))
  np.testing.assert_allclose(
    networks.represent(params, frames), networks.represent(params, networks.prepare(frames))
  )


@pytest.mark.parametrize('count', [2, 4])
def test_batch_norm_is_over_all_devices(count):
  networks = _ei.make_networks(small_image().networks, _FRAMES)
  params = networks.init(jax.random.key(0))
  latents = jax.random.normal(jax.random.key(1), (2, 8, 3, 8))
  alone = networks.compare(params, *latents)
  shards = latents.reshape(2, count, 8 // count, 3, 8).swapaxes(0, 1)
  mapped = jax.pmap(
    lambda pair: networks.compare(params, *pair, axis_name='devices'), 'devices',
    devices=jax.local_devices()[:count],
  )(shards)  # fmt: skip
  np.testing.assert_allclose(
    mapped.prediction.reshape(alone.prediction.shape), alone.prediction, rtol=1e-3, atol=1e-4
  )
  jax.tree.map(
    lambda many, one: np.testing.assert_allclose(
      many, np.broadcast_to(one, many.shape), rtol=1e-4, atol=1e-6
    ),
    mapped.statistics,
    alone.statistics,
  )


def test_batch_norm_by_hand():
  """Projections have mean 0 and variance 1 over the batch; the averages move by a tenth, twice."""
  networks = _ei.make_networks(small_image().networks, _FRAMES)
  params = networks.init(jax.random.key(0))
  latents = jax.random.normal(jax.random.key(1), (64, 8))
  compared = networks.compare(params, latents, latents)
  np.testing.assert_allclose(compared.target.mean(0), 0, atol=1e-5)
  np.testing.assert_allclose(compared.target.var(0), 1, atol=1e-2)
  dense = params['projector']['Dense_0']
  seen = np.asarray(latents) @ np.asarray(dense['kernel']) + np.asarray(dense['bias'])
  averages = compared.statistics['statistics']['projector']['BatchNorm_0']
  np.testing.assert_allclose(averages['mean'], 0.19 * seen.mean(0), rtol=1e-3, atol=1e-5)
  np.testing.assert_allclose(averages['var'], 0.81 + 0.19 * seen.var(0), rtol=1e-3)


def test_batch_norm_leaves_out_what_is_past_an_end():
  networks = _ei.make_networks(small_image().networks, _FRAMES)
  params = networks.init(jax.random.key(0))
  latents = jax.random.normal(jax.random.key(1), (6, 3, 8))
  mask = jnp.ones((6, 3), bool).at[4:].set(False)
  compare = lambda latents, mask: networks.compare(params, latents, latents, mask)
  some, alone = compare(latents.at[4:].mul(9), mask), compare(latents[:4], mask[:4])
  np.testing.assert_allclose(some.target[:4], alone.target, rtol=1e-4, atol=1e-5)
  chex.assert_trees_all_close(some.statistics, alone.statistics, rtol=1e-4)


@pytest.mark.parametrize(
  'spec, encoder, found', [(_FRAMES, (), r'\(\) for frames'), (_SPEC, (4,), r'\(4,\) for vectors')]
)
def test_encoder_and_observations_must_fit(spec, encoder, found):
  config = small('paper', **{'networks.encoder': encoder})
  with pytest.raises(ValueError, match=f'config.networks.encoder: found {found}'):
    _ei.make_agent(config, spec)


def test_keypoints_represent_frames_alone():
  overrides = {'networks.keypoints': True, 'networks.encoder': (4,), 'shift': 0, 'intensity': 0.0}
  config = configuration.override(small_image(), overrides)
  networks = _ei.make_networks(config.networks, _FRAMES)
  params = jax.eval_shape(networks.init, jax.random.key(0))
  # Points of 4 channels in the newest frame and their movement since the one before.
  assert params['representation']['Dense_0']['kernel'].shape == (16, 8)
  with pytest.raises(ValueError, match='config.networks.keypoints: found True for vectors'):
    _ei.make_agent(small('tuned', **overrides | {'networks.encoder': ()}), _SPEC)
  with pytest.raises(ValueError, match='config.shift: found 4, expected 0 with networks.keypoints'):
    _ei.make_agent(configuration.override(config, {'shift': 4}), _FRAMES)


def test_a_window_is_represented_as_its_observations_are():
  """Where frames are shared and where they are not, and past an episode's beginning."""
  shared = {'networks.keypoints': True, 'networks.encoder': (4,), 'shift': 0, 'intensity': 0.0}
  frames = jax.random.randint(jax.random.key(1), (9, *_FRAMES.frame), 0, 256).astype(jnp.uint8)
  trajectory = types.Trajectory(frames, np.zeros((8, 2), np.float32), np.zeros(8), np.ones(8))
  replay = episodes.of(_FRAMES, [trajectory])
  window = episodes.gather(replay, jnp.array([0, 1, 4]), 3, _FRAMES.stack)
  for overrides in ({}, shared):
    config = configuration.override(small_image(), overrides)
    networks = _ei.make_networks(config.networks, _FRAMES)
    params = networks.init(jax.random.key(0))
    each = networks.represent(params, window.observations)
    together = networks.represent_window(params, window.observations)
    np.testing.assert_allclose(together, each, rtol=1e-4, atol=1e-5)
