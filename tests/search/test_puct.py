import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate.search import actions as actions_lib
from eimitate.search import base
from eimitate.search import puct
from eimitate.search import root as root_lib
from eimitate.search import selection
from eimitate.ops import squashed_normal
from tests.search import models
from tests.search import numpy_tree

_CONFIG = base.Config(num_simulations=20, num_actions=8)


def _grow(config, model, seed, batch, noise):
  grow = lambda key, latent: puct.grow_tree(config, model, None, key, latent, noise=noise)
  return jax.jit(grow)(jax.random.key(seed), models.latents(seed, batch))


@pytest.mark.parametrize('count_root', [True, False])
@pytest.mark.parametrize(
  'simulations, num_actions, scale, seed',
  [
    (20, 8, 1.0, 0),
    (20, 8, 1e-3, 1),
    (20, 8, 100.0, 2),
    (50, 16, 1.0, 3),
    (50, 3, 1.0, 4),
    (1, 4, 1.0, 5),
  ],
)
def test_agrees_with_numpy_tree(simulations, num_actions, scale, seed, count_root):
  config = dataclasses.replace(
    _CONFIG, num_simulations=simulations, num_actions=num_actions, count_root=count_root
  )
  model, batch = models.make_model(seed, scale), 4
  tree, _ = _grow(config, model, seed, batch, noise=True)
  value = puct.root_value(config, tree)
  tree = jax.tree.map(np.asarray, tree)
  for b in range(batch):
    oracle = numpy_tree.NumpyTree(
      config, model.discount, tree.extra_data.prior[b], tree.extra_data.root_q[b]
    )
    for node in range(1, simulations + 1):
      parent, slot = int(tree.parents[b, node]), int(tree.action_from_parent[b, node])
      reward = float(tree.children_rewards[b, parent, slot])
      oracle.simulate(parent, slot, reward, float(tree.raw_values[b, node]))
    np.testing.assert_array_equal(oracle.visits(), tree.children_visits[b, 0])
    np.testing.assert_allclose(oracle.value(), value[b], rtol=1e-4, atol=1e-6 * scale)


def test_numpy_tree_refuses_another_path():
  # The oracle itself must be able to fail: never follow the best edge.
  oracle = numpy_tree.NumpyTree(_CONFIG, 0.9, np.full(8, 1 / 8), np.arange(8.0))
  with pytest.raises(AssertionError):
    oracle.simulate(0, 3, 1.0, 0.0)
  oracle.simulate(0, 7, 1.0, 0.0)


def test_root_q_is_reward_plus_discounted_value():
  model = models.make_model(0)
  latent = models.latents(0, 3)
  actions = jax.random.uniform(jax.random.key(1), (3, 8, models.ACTION), minval=-1)
  q = root_lib.evaluate_children(model, None, latent, actions)
  for k in range(8):
    reward, following = model.step(None, latent, actions[:, k])
    np.testing.assert_allclose(q[:, k], reward + 0.9 * model.value(None, following), rtol=1e-5)


def test_bc_slots_get_their_share_when_nothing_differs():
  # A constant model leaves only ties: visits must spread over all slots alike. Stock tie-breaking
  # would leave the last slots, the BC policy's, at 0.
  flat = models.make_model(0)._replace(
    step=lambda params, latent, action: (jnp.ones(len(latent)), latent),
    value=lambda params, latent: jnp.ones(len(latent)),
  )
  config = dataclasses.replace(_CONFIG, num_simulations=50, num_actions=16)
  tree, _ = _grow(config, flat, 0, 256, noise=False)
  share = np.mean(tree.children_visits[:, 0, 12:].sum(1) / 50)
  assert abs(share - 0.25) < 0.02
  # Interior nodes too: the slots of all expanded edges below the root.
  slots = tree.action_from_parent[:, 1:][tree.parents[:, 1:] > 0]
  assert abs(np.mean(slots >= 12) - 0.25) < 0.05


def test_no_degenerate_chains():
  config = dataclasses.replace(_CONFIG, num_simulations=50, num_actions=16)
  depths = []
  for seed in range(3):
    tree, _ = _grow(config, models.make_model(seed), seed, 16, noise=False)
    parents = np.asarray(tree.parents)
    depth = np.zeros(parents.shape, int)
    for node in range(1, 51):
      depth[:, node] = depth[np.arange(16), parents[:, node]] + 1
    depths.append(depth.max(1))
  assert 1 < np.mean(depths) < 15


def test_temperature():
  weights = jnp.array([[0.5, 0.25, 0.25, 0.0]] * 4000)
  draw = lambda t: (
    np.bincount(root_lib.sample_visits(jax.random.key(0), weights, t), minlength=4) / 4000
  )
  np.testing.assert_allclose(draw(1.0), [0.5, 0.25, 0.25, 0], atol=0.03)
  np.testing.assert_allclose(draw(0.5), [4 / 6, 1 / 6, 1 / 6, 0], atol=0.03)
  np.testing.assert_array_equal(draw(0.0), [1, 0, 0, 0])
  close = jnp.array([[501.0, 499.0]] * 1000) / 1000
  assert not root_lib.sample_visits(jax.random.key(1), close, 0.0).any()
  tied = root_lib.sample_visits(jax.random.key(1), jnp.full((4000, 2), 0.5), jnp.float32(0))
  np.testing.assert_allclose(tied.mean(), 0.5, atol=0.03)


def test_root_noise_only_where_asked():
  config = _CONFIG
  uniform = root_lib.prior(config, jax.random.key(0), 5, noise=False)
  np.testing.assert_allclose(uniform, 1 / 8)
  noisy = root_lib.prior(config, jax.random.key(0), 5, noise=True)
  np.testing.assert_allclose(noisy.sum(1), 1, rtol=1e-5)
  assert (noisy >= 0.75 / 8 - 1e-6).all() and noisy.std() > 0.01


def test_ties_are_broken_uniformly():
  scores = jnp.array([0.0, 1.0, 1.0 - 1e-7, 1.0])
  drawn = jax.vmap(selection.break_ties, (0, None))(
    jax.random.split(jax.random.key(0), 3000), scores
  )
  np.testing.assert_allclose(
    np.bincount(drawn, minlength=4) / 3000, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.04
  )


@pytest.mark.parametrize(
  'q, lowest, highest, expected',
  [(0.5, 0.0, 1.0, 0.5), (0.504, 0.5, 0.508, 0.4), (3.0, 3.0, 3.0, 1.0), (0.2, 0.2, 0.2, 0.2)],
)
def test_normalise(q, lowest, highest, expected):
  assert float(selection.normalise(*map(jnp.float32, (q, lowest, highest)))) == pytest.approx(
    expected, abs=1e-5
  )


def test_drawn_actions_follow_their_slots_policy():
  tight = lambda mean: (
    lambda params, latent: squashed_normal.SquashedNormal(
      jnp.full((len(latent), 2), mean), jnp.full((len(latent), 2), -5.0)
    )
  )
  model = models.make_model(0)._replace(policy=tight(0.5), bc_policy=tight(-0.5))
  latent = models.latents(0, 8)
  from_bc = jnp.arange(8) % 3 == 0
  drawn = actions_lib.draw_action(model, None, latent, from_bc, jnp.zeros((8, 2)))
  np.testing.assert_array_equal(drawn[:, 0] < 0, from_bc)
  sampled = actions_lib.sample_root_actions(_CONFIG, model, None, jax.random.key(0), latent)
  np.testing.assert_array_equal(sampled[0, :, 0] < 0, jnp.arange(8) >= 6)
