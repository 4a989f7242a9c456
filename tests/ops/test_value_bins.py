import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlax

from eimitate.ops import value_bins

_VALUES = np.array([-150.0, -3.2, -0.01, 0.0, 1e-4, 0.3, 1.0, 7.7, 99.0, 800.0], np.float32)


def test_squash_by_hand():
  # h(3) = sqrt(4) - 1 + 0.003, h(-8) = -(3 - 1) - 0.008.
  np.testing.assert_allclose(value_bins.squash(jnp.array([3.0, -8.0])), [1.003, -2.008], rtol=1e-6)


def test_squash_agrees_with_rlax_and_inverts():
  squashed = value_bins.squash(_VALUES)
  np.testing.assert_allclose(squashed, rlax.signed_hyperbolic(_VALUES), rtol=1e-5)
  np.testing.assert_allclose(value_bins.unsquash(squashed), _VALUES, rtol=1e-4, atol=1e-6)


def test_expectation_inverts_two_hot():
  # Two-hot by hand: h(x) = 1.2 on a grid of step 0.5 is 0.6 at 1.0 and 0.4 at 1.5.
  logits = jnp.full(9, -1e9).at[6].set(jnp.log(0.6)).at[7].set(jnp.log(0.4))
  expected = value_bins.unsquash(jnp.float32(1.2))
  np.testing.assert_allclose(value_bins.expectation(logits, 2.0), expected, rtol=1e-5)


@pytest.mark.parametrize('bins, limit', [(401, 100.0), (401, 40.0), (121, 30.0)])
def test_cross_entropy_agrees_with_rlax(bins, limit):
  logits = jax.random.normal(jax.random.key(0), (len(_VALUES), bins))
  two_hot = rlax.transform_to_2hot(rlax.signed_hyperbolic(_VALUES), -limit, limit, bins)
  expected = -(two_hot * jax.nn.log_softmax(logits)).sum(-1)
  actual = jax.jit(value_bins.cross_entropy, static_argnums=2)(logits, _VALUES, limit)
  np.testing.assert_allclose(actual, expected, rtol=1e-4)
  each = jax.vmap(lambda x, v: value_bins.cross_entropy(x, v, limit))(logits, _VALUES)
  np.testing.assert_allclose(each, expected, rtol=1e-4)


def test_targets_past_the_grid_are_clipped_to_its_ends():
  logits = jax.random.normal(jax.random.key(0), (2, 9))
  loss = value_bins.cross_entropy(logits, jnp.array([1e9, -1e9]), 2.0)
  expected = -jax.nn.log_softmax(logits)[jnp.arange(2), jnp.array([8, 0])]
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_expectation_of_huge_logits_is_finite():
  logits = jnp.zeros(401).at[3].set(1e4)
  value, gradient = jax.value_and_grad(value_bins.expectation)(logits, 100.0)
  assert np.isfinite(value) and np.isfinite(gradient).all()
