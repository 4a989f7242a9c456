import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from eimitate.ops import projection


@pytest.mark.parametrize(
  'atoms, lowest, highest', [(101, 0.0, 100.0), (11, -3.0, 7.0), (2, 0.0, 1.0)]
)
def test_agrees_with_rlax(atoms, lowest, highest):
  keys = jax.random.split(jax.random.key(atoms), 3)
  support = jnp.linspace(lowest, highest, atoms)
  reward = 3 * jax.random.normal(keys[0], (20, 1))
  discount = jax.random.uniform(keys[1], (20, 1))
  locations = reward + discount * support[None]
  probabilities = jax.nn.softmax(2 * jax.random.normal(keys[2], (20, atoms)))
  projected = jax.jit(projection.project)(locations, probabilities, support)
  with jax.numpy_rank_promotion('allow'):
    expected = jax.vmap(rlax.categorical_l2_project, (0, 0, None))(
      locations, probabilities, support
    )
  np.testing.assert_allclose(projected, expected, atol=1e-5)
  np.testing.assert_allclose(projected.sum(-1), 1, rtol=1e-5)


def test_by_hand():
  support = jnp.array([0.0, 1.0, 2.0])
  # A quarter of the way from 1 to 2; beyond both ends; on an atom.
  locations = jnp.array([1.25, -5.0, 9.0, 1.0])
  probabilities = jnp.array([0.4, 0.1, 0.2, 0.3])
  projected = projection.project(locations, probabilities, support)
  np.testing.assert_allclose(projected, [0.1, 0.3 + 0.3, 0.1 + 0.2], rtol=1e-6)
