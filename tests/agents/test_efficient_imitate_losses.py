"""Every term against an independent computation in NumPy loops."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from eimitate import types
from eimitate.agents.efficient_imitate import losses
from eimitate.agents.efficient_imitate import networks as networks_lib

_SPEC = types.EnvironmentSpec(observation_size=3, action_size=2)
_CONFIG = networks_lib.NetworksConfig(
  latent=4,
  representation=(5,),
  dynamics=(5,),
  value=(6,),
  policy=(6,),
  bc_members=2,
  discriminator=(6,),
  projection=4,
  projector=(7,),
  predictor=(7,),
  zero_last_layers=False,
  value_bins=21,
  value_limit=5.0,
)
_NETWORKS = networks_lib.make_networks(_CONFIG, _SPEC)
_HALF, _H, _K = 3, 2, 4
_ALONE = losses.LossConfig(
  policy=0.0, value=0.0, discriminator=0.0, gradient_penalty=0.0, consistency=0.0, bc=0.0
)


def _window(seed, lengths):
  """Random windows of which row b has `lengths[b]` transitions before its episode ends."""
  keys = jax.random.split(jax.random.key(seed), 2)
  steps = jnp.arange(_H + 2)
  lengths = jnp.array(lengths)[:, None]
  return types.Window(
    observations=jax.random.normal(keys[0], (_HALF, _H + 2, 3)),
    actions=jax.random.uniform(keys[1], (_HALF, _H + 1, 2), minval=-0.9, maxval=0.9),
    rewards=jnp.zeros((_HALF, _H + 1)),
    discounts=jnp.ones((_HALF, _H + 1)),
    observation_mask=(steps[None] <= lengths).astype(jnp.float32),
    action_mask=(steps[None, :-1] < lengths).astype(jnp.float32),
  )


@pytest.fixture(name='batch')
def _batch():
  keys = jax.random.split(jax.random.key(5), 5)
  weights = jax.nn.softmax(jax.random.normal(keys[2], (_HALF, _H + 1, _K)))
  return {
    'params': _NETWORKS.init(keys[0]),
    'target_params': _NETWORKS.init(keys[1]),
    'rng_key': keys[3],
    'agent': _window(1, [3, 1, 2]),
    'expert': _window(2, [2, 3, 1]),
    'targets': losses.Targets(
      value=jnp.linspace(-2, 30, _HALF * (_H + 1)).reshape(_HALF, _H + 1),
      actions=jax.random.uniform(keys[4], (_HALF, _H + 1, _K, 2), minval=-0.9, maxval=0.9),
      weights=weights,
      expert_value=jnp.linspace(20, -4, _HALF * (_H + 1)).reshape(_HALF, _H + 1),
    ),
    'bc_on': jnp.float32(1),
  }


def _loss(batch, **settings):
  config = dataclasses.replace(_ALONE, **settings)
  function = jax.jit(
    lambda b: losses.total_loss(config=config, networks=_NETWORKS, value_limit=5.0, **b)[0]
  )
  return float(function(batch))


def _unrolled(batch, window):
  """Latents [b][h] one row at a time."""
  rows = []
  for b in range(_HALF):
    latents = [_NETWORKS.represent(batch['params'], window.observations[b, 0])]
    for h in range(_H):
      latents.append(_NETWORKS.dynamics(batch['params'], latents[-1], window.actions[b, h]))
    rows.append(latents)
  return rows


def _log_prob(policy, action):
  mean, std = np.asarray(policy.mean, float), np.exp(np.asarray(policy.log_std, float))
  u = np.arctanh(np.asarray(action, float))
  normal = -0.5 * ((u - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
  return (normal - np.log(1 - np.tanh(u) ** 2)).sum()


def test_policy_term(batch):
  latents, targets, total = _unrolled(batch, batch['agent']), batch['targets'], 0.0
  for b in range(_HALF):
    for h in range(_H + 1):
      policy = _NETWORKS.policy(batch['params'], latents[b][h])
      for k in range(_K):
        log_prob = _log_prob(policy, targets.actions[b, h, k])
        total -= targets.weights[b, h, k] * log_prob * batch['agent'].action_mask[b, h]
  np.testing.assert_allclose(_loss(batch, policy=2.0), 2 * total / _HALF / _H, rtol=1e-4)


def test_recorded_reward_term(batch):
  rewards = jax.random.uniform(jax.random.key(9), (2, _HALF, _H + 1))
  batch |= {'recorded': True}
  total = 0.0
  for name, recorded in zip(('agent', 'expert'), rewards):
    batch[name] = batch[name]._replace(rewards=recorded)
    latents = _unrolled(batch, batch[name])
    for b in range(_HALF):
      for h in range(_H):
        predicted = _NETWORKS.discriminate(
          batch['params'], latents[b][h], batch[name].actions[b, h]
        )
        total += (predicted - recorded[b, h]) ** 2 / 2 * batch[name].action_mask[b, h]
  expected = 3 * total / (2 * _HALF) / _H
  # Discriminator and penalty have no part in it.
  config = dataclasses.replace(_ALONE, reward=3.0, discriminator=9.0, gradient_penalty=9.0)
  loss = losses.total_loss(config=config, networks=_NETWORKS, value_limit=5.0, **batch)[0]
  np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.parametrize('term, half', [('value', 'agent'), ('expert_value', 'expert')])
def test_value_terms(batch, term, half):
  window, targets = batch[half], getattr(batch['targets'], term)
  latents, total = _unrolled(batch, window), 0.0
  for b in range(_HALF):
    for h in range(_H + 1):
      logits = _NETWORKS.value_logits(batch['params'], latents[b][h])
      two_hot = rlax.transform_to_2hot(rlax.signed_hyperbolic(targets[b, h]), -5.0, 5.0, 21)
      cross_entropy = -(two_hot * jax.nn.log_softmax(logits)).sum()
      total += cross_entropy * window.action_mask[b, h]
  np.testing.assert_allclose(_loss(batch, **{term: 0.5}), 0.5 * total / _HALF / _H, rtol=1e-4)


@pytest.mark.parametrize('steps', ['multi', 'single'])
def test_bc_term(batch, steps):
  latents, expert, total = _unrolled(batch, batch['expert']), batch['expert'], 0.0
  count = _H + 1 if steps == 'multi' else 1
  for b in range(_HALF):
    for h in range(count):
      members = _NETWORKS.bc_members(batch['params'], latents[b][h])
      for m in range(2):
        policy = jax.tree.map(lambda x: x[m], members)
        total -= _log_prob(policy, expert.actions[b, h]) * expert.action_mask[b, h] / 2
  expected = 0.1 * total / _HALF / _H * (_H + 1) / count
  np.testing.assert_allclose(_loss(batch, bc=0.1, bc_steps=steps), expected, rtol=1e-4)
  assert _loss(batch | {'bc_on': jnp.float32(0)}, bc=0.1, bc_steps=steps) == 0


@pytest.mark.parametrize('steps', ['multi', 'single'])
def test_discriminator_term(batch, steps):
  total, count = 0.0, _H if steps == 'multi' else 1
  for window, expert in ((batch['agent'], 0), (batch['expert'], 1)):
    latents = _unrolled(batch, window)
    for b in range(_HALF):
      for h in range(count):
        logit = _NETWORKS.discriminate(batch['params'], latents[b][h], window.actions[b, h])
        d = 1 / (1 + np.exp(-float(logit)))
        total -= np.log(d if expert else 1 - d) * window.action_mask[b, h]
  expected = total / (2 * _HALF) / count
  actual = _loss(batch, discriminator=1.0, discriminator_steps=steps)
  np.testing.assert_allclose(actual, expected, rtol=1e-4)


@pytest.mark.parametrize('encoder', ['online', 'target'])
def test_consistency_term(batch, encoder):
  params, total = batch['params'], 0.0
  encoding = params if encoder == 'online' else batch['target_params']
  for window in (batch['agent'], batch['expert']):
    latents = _unrolled(batch, window)
    for b in range(_HALF):
      for h in range(1, _H + 1):
        seen = _NETWORKS.represent(encoding, window.observations[b, h])
        prediction, target, _ = _NETWORKS.compare(params, latents[b][h], seen)
        norms = np.linalg.norm(prediction) * np.linalg.norm(target)
        total -= float(prediction @ target) / norms * window.observation_mask[b, h]
  actual = _loss(batch, consistency=20.0, consistency_target=encoder)
  np.testing.assert_allclose(actual, 20 * total / (2 * _HALF) / _H, rtol=1e-4)


def test_consistency_term_between_latents(batch):
  params, predicted, following, masks = batch['params'], [], [], []
  for window in (batch['agent'], batch['expert']):
    latents = _unrolled(batch, window)
    for b in range(_HALF):
      for h in range(1, _H + 1):
        predicted.append(np.asarray(latents[b][h]))
        following.append(np.asarray(_NETWORKS.represent(params, window.observations[b, h])))
        masks.append(float(window.observation_mask[b, h]))
  predicted, following, masks = np.array(predicted), np.array(following), np.array(masks)
  inside = following[masks > 0]
  variance = ((inside - inside.mean(0)) ** 2).sum(1).mean()
  total = (((predicted - following) ** 2).sum(1) * masks).sum() / variance
  actual = _loss(batch, consistency=20.0, consistency_space='latent')
  np.testing.assert_allclose(actual, 20 * total / (2 * _HALF) / _H, rtol=1e-4)


def test_consistency_between_latents_does_not_depend_on_their_scale():
  latents, following = jax.random.normal(jax.random.key(0), (2, 8, 5, 4))
  mask = jnp.ones((8, 5)).at[3, 2:].set(0)
  loss = losses.latent_consistency_loss(latents, following, mask)
  scaled = losses.latent_consistency_loss(30 * latents, 30 * following, mask)
  np.testing.assert_allclose(loss, scaled, rtol=1e-4)
  gradient = jax.grad(lambda f: losses.latent_consistency_loss(latents, f, mask).sum())(following)
  assert not gradient.any()


@pytest.mark.parametrize(
  'pairing, scale', [('pairs', 'none'), ('one_row', 'none'), ('pairs', 'spread')]
)
def test_penalty_term(batch, pairing, scale):
  params = batch['params']
  rows = {}
  for name in ('agent', 'expert'):
    latents = np.array(_unrolled(batch, batch[name]))[:, :_H]
    rows[name] = np.concatenate([latents, batch[name].actions[:, :_H]], -1)
  if pairing == 'one_row':
    rows['expert'] = np.broadcast_to(rows['expert'][:1], rows['expert'].shape)
  unit = 1.0
  if scale == 'spread':
    inside = np.array(batch['agent'].action_mask * batch['expert'].action_mask)[:, :_H]
    assert not inside.all()
    unit = np.sqrt(np.mean(np.sum((rows['agent'] - rows['expert']) ** 2, -1)[inside > 0]))
  mix = np.asarray(jax.random.uniform(batch['rng_key'], (_HALF, _H)))
  logit = lambda x: float(_NETWORKS.discriminate(params, jnp.array(x[:4]), jnp.array(x[4:])))
  total = 0.0
  with jax.enable_x64(True):  # Finite differences need the digits.
    params64 = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    logit = jax.jit(lambda x: _NETWORKS.discriminate(params64, x[:4], x[4:]))
    for b in range(_HALF):
      for h in range(_H):
        x = mix[b, h] * rows['agent'][b, h] + (1 - mix[b, h]) * rows['expert'][b, h]
        x = x.astype(np.float64)
        steps = 1e-6 * np.eye(6)
        gradient = np.array([(logit(x + e) - logit(x - e)) / 2e-6 for e in steps])
        row = 0 if pairing == 'one_row' else b
        both_inside = batch['agent'].action_mask[b, h] * batch['expert'].action_mask[row, h]
        total += (unit * np.linalg.norm(gradient) - 1) ** 2 * float(both_inside)
  actual = _loss(batch, gradient_penalty=1.0, penalty_expert=pairing, penalty_scale=scale)
  np.testing.assert_allclose(actual, total / _HALF / _H, rtol=1e-3)


def _gradients(batch, **settings):
  config = dataclasses.replace(_ALONE, **settings)
  rest = {name: value for name, value in batch.items() if name != 'params'}
  gradient = jax.jit(
    jax.grad(
      lambda p: losses.total_loss(p, config=config, networks=_NETWORKS, value_limit=5.0, **rest)[0]
    )
  )(batch['params'])
  return {
    name: float(sum(jnp.abs(x).sum() for x in jax.tree.leaves(g))) for name, g in gradient.items()
  }


def test_penalty_moves_the_discriminator_only(batch):
  moved = {name for name, size in _gradients(batch, gradient_penalty=1.0).items() if size > 0}
  assert moved == {'discriminator'}


def test_consistency_stops_at_its_target(batch):
  # With the online encoder as target the gradient must be that of a constant target.
  params = batch['params']

  def reference(p):
    total = 0.0
    for window in (batch['agent'], batch['expert']):
      latents = losses.unroll(_NETWORKS, p, window.observations[:, 0], window.actions[:, :_H])
      seen = _NETWORKS.represent(params, window.observations[:, 1 : _H + 1])
      prediction = _NETWORKS.compare(p, latents[:, 1:], seen).prediction
      target = _NETWORKS.compare(params, seen, seen).target
      cosine = (prediction * target).sum(-1)
      cosine /= jnp.linalg.norm(prediction, axis=-1) * jnp.linalg.norm(target, axis=-1)
      total -= (cosine * window.observation_mask[:, 1:-1]).sum()
    return total / (2 * _HALF) / _H

  expected = jax.jit(jax.grad(reference))(params)
  config = dataclasses.replace(_ALONE, consistency=1.0)
  rest = {name: value for name, value in batch.items() if name != 'params'}
  gradient = jax.grad(
    lambda p: losses.total_loss(p, config=config, networks=_NETWORKS, value_limit=5.0, **rest)[0]
  )
  actual = jax.jit(gradient)(params)
  jax.tree.map(
    lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-3, atol=1e-6), actual, expected
  )


def test_bc_reaches_neither_policy_nor_value(batch):
  moved = {name for name, size in _gradients(batch, bc=1.0).items() if size > 0}
  assert moved == {'representation', 'dynamics', 'bc_policy'}


def test_gradient_is_halved_at_every_dynamics_step():
  params = _NETWORKS.init(jax.random.key(0))
  observation, actions = jnp.ones((1, 3)), jnp.full((1, 3, 2), 0.3)

  def latent_sum(p, h, represent_only):
    moving = dict(params, representation=p['representation']) if represent_only else p
    return losses.unroll(_NETWORKS, moving, observation, actions)[:, h].sum()

  def plain_sum(p, h):
    latent = _NETWORKS.represent(dict(params, representation=p['representation']), observation)
    for t in range(h):
      latent = _NETWORKS.dynamics(params, latent, actions[:, t])
    return latent.sum()

  for h in range(4):
    actual = jax.grad(latent_sum)(params, h, True)['representation']
    expected = jax.grad(plain_sum)(params, h)['representation']
    jax.tree.map(
      lambda a, e: np.testing.assert_allclose(a, e / 2**h, rtol=1e-4, atol=1e-8), actual, expected
    )


def test_every_term_under_vmap(batch):
  """Two batches at once give what each gives alone."""
  names = ('policy', 'value', 'discriminator', 'gradient_penalty', 'consistency', 'bc')
  config = dataclasses.replace(_ALONE, expert_value=1.0, **dict.fromkeys(names, 1.0))

  def terms(data):
    return losses.weighted_terms(config=config, networks=_NETWORKS, value_limit=5.0, **data)[0]

  shared = {name: batch[name] for name in ('params', 'target_params', 'bc_on', 'rng_key')}
  first = {name: x for name, x in batch.items() if name not in shared}
  second = first | {'agent': _window(7, [3, 3, 1]), 'expert': _window(8, [1, 2, 3])}
  both = jax.tree.map(lambda *x: jnp.stack(x), first, second)
  actual = jax.jit(jax.vmap(lambda data: terms(shared | data)))(both)
  assert set(actual) == {*names, 'expert_value'}
  for i, data in enumerate((first, second)):
    for name, value in jax.jit(terms)(shared | data).items():
      np.testing.assert_allclose(actual[name][i], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize('scale', ['none', 'spread'])
def test_rows_past_an_episodes_end_change_nothing(batch, scale):
  everything = {
    'penalty_scale': scale,
    'policy': 1.0,
    'value': 1.0,
    'discriminator': 1.0,
    'gradient_penalty': 1.0,
    'consistency': 1.0,
    'bc': 1.0,
  }
  before = _loss(batch, **everything)
  # Row 1 of the agent's half has one transition: o_2, o_3, a_1, a_2 are padding. (Latents beyond
  # it feed masked terms only.)
  agent = batch['agent']
  agent = agent._replace(
    observations=agent.observations.at[1, 2:].add(3.0), actions=agent.actions.at[1, 1:].set(0.1)
  )
  targets = batch['targets']._replace(value=batch['targets'].value.at[1, 1:].add(9.0))
  after = _loss(batch | {'agent': agent, 'targets': targets}, **everything)
  np.testing.assert_allclose(after, before, rtol=1e-5)
