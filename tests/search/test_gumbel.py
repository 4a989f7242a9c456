import dataclasses

import jax
import numpy as np
import pytest

from eimitate.ops import squashed_normal
from eimitate.search import base
from eimitate.search import gumbel
from eimitate.search import make_search
from tests.search import models

_CONFIG = base.Config(kind='gumbel', num_simulations=16, num_actions=16, max_considered_actions=16)


@pytest.mark.parametrize('seed', range(3))
def test_one_ply_is_what_mctx_computes(seed):
  model, latent = models.make_model(seed), models.latents(seed, 8)
  actions = jax.random.uniform(jax.random.key(7), (8, 16, models.ACTION), minval=-1)
  config = dataclasses.replace(_CONFIG, value_scale=0.1 + 0.1 * seed)
  arguments = (config, model, None, jax.random.key(seed), latent, actions, False)
  tree, one_ply = gumbel._tree(*arguments), gumbel._one_ply(*arguments)
  np.testing.assert_allclose(tree.value, one_ply.value, rtol=1e-5)
  np.testing.assert_allclose(tree.weights, one_ply.weights, rtol=1e-3, atol=1e-6)
  np.testing.assert_array_equal(tree.selected, one_ply.selected)


def test_one_ply_explores_like_mctx():
  model, latent = models.make_model(0), models.latents(0, 4000)[:1].repeat(4000, 0)
  actions = jax.random.uniform(jax.random.key(7), (1, 16, models.ACTION), minval=-1).repeat(4000, 0)
  shares = [
    np.bincount(
      run(_CONFIG, model, None, jax.random.key(3), latent, actions, True).selected, minlength=16
    )
    / 4000
    for run in (gumbel._tree, gumbel._one_ply)
  ]
  np.testing.assert_allclose(*shares, atol=0.04)


def test_weights_and_value_by_hand():
  config = dataclasses.replace(_CONFIG, value_scale=0.3)
  model, latent = models.make_model(0), models.latents(0, 4)
  output = make_search(config, model)(None, jax.random.key(0), latent, noise=False)
  for b in range(4):
    q = []
    for action in output.actions[b]:
      reward, following = model.step(None, latent[b : b + 1], action[None])
      q.append(float(reward[0] + model.discount * model.value(None, following)[0]))
    rescaled = (np.array(q) - min(q)) / (max(q) - min(q))
    weights = np.exp(51 * 0.3 * rescaled) / np.exp(51 * 0.3 * rescaled).sum()
    np.testing.assert_allclose(output.weights[b], weights, rtol=1e-3)
    own = float(model.value(None, latent[b]))
    np.testing.assert_allclose(output.value[b], (own + sum(q)) / 17, rtol=1e-4)


def test_leaving_what_cloning_would_do_costs_weight_and_not_value():
  model, latent = models.make_model(0), models.latents(0, 4)
  free, paying = (
    make_search(dataclasses.replace(_CONFIG, bc_penalty=penalty), model)(
      None, jax.random.key(0), latent, noise=False
    )
    for penalty in (0.0, 100.0)
  )
  np.testing.assert_array_equal(free.actions, paying.actions)
  np.testing.assert_array_equal(free.value, paying.value)
  # All that counts at this price.
  mode = squashed_normal.mode(model.bc_policy(None, latent))
  distances = ((paying.actions - mode[:, None]) ** 2).mean(-1)
  np.testing.assert_array_equal(paying.selected, distances.argmin(1))
  assert (free.selected != paying.selected).any()
  # Without the BC policy's actions it is not asked.
  alone = dataclasses.replace(_CONFIG, bc_fraction=0.0)
  outputs = [
    make_search(dataclasses.replace(alone, bc_penalty=penalty), model)(
      None, jax.random.key(0), latent, noise=False
    )
    for penalty in (0.0, 100.0)
  ]
  np.testing.assert_array_equal(outputs[0].weights, outputs[1].weights)


@pytest.mark.parametrize('considered, simulations', [(4, 8), (8, 16), (16, 16)])
def test_search_through_the_interface(considered, simulations):
  config = dataclasses.replace(
    _CONFIG, max_considered_actions=considered, num_simulations=simulations
  )
  search = make_search(config, models.make_model(0))
  output = jax.jit(lambda key, latent: search(None, key, latent, noise=True))(
    jax.random.key(0), models.latents(0, 5)
  )
  assert output.actions.shape == (5, 16, 2)
  assert output.value.shape == (5,)
  np.testing.assert_allclose(output.weights.sum(1), 1, rtol=1e-5)
  assert ((output.selected >= 0) & (output.selected < 16)).all()


def test_behaviour_cloning_keeps_its_share_where_not_all_actions_are_tried():
  """Half of sixteen actions are considered at the root; below it hardly any is tried twice."""
  config = dataclasses.replace(_CONFIG, max_considered_actions=8)
  model, latent = models.make_model(0), models.latents(0, 400)
  actions = jax.random.uniform(jax.random.key(7), (400, 16, models.ACTION), minval=-1)
  tree = gumbel._search_tree(config, model, None, jax.random.key(0), latent, actions, False)
  visits = np.asarray(tree.search_tree.children_visits)
  root, below = visits[:, 0].sum(0), visits[:, 1:].sum((0, 1))
  for tried in root, below:
    assert tried.sum() > 2000
    assert 0.2 < tried[12:].sum() / tried.sum() < 0.3


@pytest.mark.parametrize(
  'field, value',
  [
    ('kind', 'alphabeta'),
    ('num_simulations', 0),
    ('num_actions', 0),
    ('bc_fraction', 1.5),
  ],
)
def test_bad_settings_are_named(field, value):
  config = dataclasses.replace(_CONFIG, **{field: value})
  with pytest.raises(ValueError, match=f'search.{field}: found .*{value}.*expected'):
    make_search(config, models.make_model(0))
