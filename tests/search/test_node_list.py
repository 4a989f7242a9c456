import jax
import numpy as np
import pytest

from eimitate.search import base
from eimitate.search import factory
from eimitate.search import node_list
from tests.search import models
from tests.search import numpy_tree


@pytest.mark.parametrize(
  'simulations, num_actions, scale, seed, count_root',
  [
    (20, 8, 1e-3, 1, True),
    (50, 16, 1.0, 3, True),
    (70, 4, 100.0, 6, False),
    (1, 4, 1.0, 5, True),
  ],
)
def test_agrees_with_numpy_tree(simulations, num_actions, scale, seed, count_root):
  config = base.Config(
    kind='node_list', num_simulations=simulations, num_actions=num_actions, count_root=count_root
  )
  model, batch, latent = models.make_model(seed, scale), 4, models.latents(seed, 4)

  @jax.jit
  def grow(key):
    tree, root = node_list.grow_tree(config, model, None, key, latent, noise=True)
    return tree, root, node_list.root_visits(config, tree), node_list.root_value(config, tree)

  tree, root, visits, value = jax.tree.map(np.asarray, grow(jax.random.key(seed)))
  for b in range(batch):
    oracle = numpy_tree.NumpyTree(config, model.discount, root.prior[:, b], root.q[:, b])
    for node in range(1, simulations + 1):
      oracle.simulate(
        int(tree.parent[node, b]),
        int(tree.slot[node, b]),
        float(tree.reward[node, b]),
        float(tree.value[node, b]),
      )
    np.testing.assert_array_equal(oracle.visits(), visits[b])
    np.testing.assert_allclose(oracle.value(), value[b], rtol=1e-4, atol=1e-6 * scale)


def test_discounts_that_cost_the_backup_its_digits_are_refused():
  config = base.Config(kind='node_list')
  with pytest.raises(ValueError, match='discount: found 0.5, expected 0.8 or more, or search.kind'):
    factory.make_search(config, models.make_model(0, discount=0.5))
