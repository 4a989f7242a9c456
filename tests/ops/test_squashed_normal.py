import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate
from scipy import stats

from eimitate.ops import squashed_normal


def _policy(mean, log_std):
  return squashed_normal.SquashedNormal(jnp.atleast_1d(mean), jnp.atleast_1d(log_std))


def test_log_prob_agrees_with_scipy():
  for mean, log_std, action in [(0.3, -0.5, 0.7), (-1.0, 0.4, -0.95), (0.0, 0.0, 0.0)]:
    u = np.arctanh(action)
    expected = stats.norm.logpdf(u, mean, np.exp(log_std)) - np.log(1 - action**2)
    actual = squashed_normal.log_prob(_policy(mean, log_std), jnp.array([action]))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_density_integrates_to_one():
  density = jax.jit(lambda a: jnp.exp(squashed_normal.log_prob(_policy(0.4, -0.3), jnp.array([a]))))
  total, _ = integrate.quad(lambda a: float(density(a)), -0.998, 0.998)
  assert abs(total - 1) < 5e-3


def test_log_prob_sums_over_action_parts_under_vmap_and_jit():
  policy = squashed_normal.SquashedNormal(jnp.zeros((4, 3)), jnp.zeros((4, 3)))
  action = jax.random.uniform(jax.random.key(0), (4, 3), minval=-1)
  single = lambda a: squashed_normal.log_prob(_policy(0.0, 0.0), a)
  expected = jax.vmap(jax.vmap(single))(action[..., None]).sum(1)
  np.testing.assert_allclose(jax.jit(squashed_normal.log_prob)(policy, action), expected, rtol=1e-5)


def test_finite_at_the_edges_of_the_action_space():
  def loss(outputs, action):
    return squashed_normal.log_prob(squashed_normal.from_outputs(outputs), action)

  for raw in (-1e3, -5.0, 0.0, 5.0, 1e3):
    for action in (-1.0, 1.0, 0.0):
      arguments = jnp.array([0.0, raw]), jnp.array([action])
      value, gradient = jax.value_and_grad(loss)(*arguments)
      assert np.isfinite(value) and np.isfinite(gradient).all()


def test_log_std_is_bounded_with_slope_one_at_zero():
  log_std = lambda raw: squashed_normal.from_outputs(jnp.array([0.0, raw])).log_std[0]
  assert log_std(0.0) == 0.0 and abs(jax.grad(log_std)(1e-6) - 1) < 1e-4
  assert abs(jax.grad(log_std)(-1e-6) - 1) < 1e-4
  assert log_std(1e6) <= squashed_normal.LOG_STD_MAX
  assert log_std(-1e6) >= squashed_normal.LOG_STD_MIN


def test_samples_have_the_policys_moments():
  policy = _policy(0.5, -1.0)
  noise = jax.random.normal(jax.random.key(0), (20000, 1))
  expanded = jax.tree.map(lambda x: x[None], policy)
  u = np.arctanh(squashed_normal.from_noise(expanded, noise))
  np.testing.assert_allclose([u.mean(), u.std()], [0.5, np.exp(-1)], atol=0.01)
  np.testing.assert_allclose(squashed_normal.mode(policy), np.tanh(0.5), rtol=1e-6)


def test_pooled_members():
  mean, log_std = jnp.array([[0.2, 30.0], [0.6, -1.0]]), jnp.array([[-1.0, 0.0], [-2.0, 0.0]])
  members = squashed_normal.SquashedNormal(mean, log_std)
  policy = squashed_normal.pooled(members)
  mode = [(np.tanh(0.2) + np.tanh(0.6)) / 2, (1 - np.tanh(1)) / 2]
  np.testing.assert_allclose(squashed_normal.mode(policy), mode, rtol=1e-5)
  # The squares' mean and that of 0.2 and 0.6 about 0.4; the second is bounded.
  variance = (np.exp(-2) + np.exp(-4)) / 2 + 0.2**2
  expected = [np.log(variance) / 2, squashed_normal.LOG_STD_MAX]
  np.testing.assert_allclose(policy.log_std, expected, rtol=1e-5)
  alone = jax.tree.map(lambda x: x[:1], members)
  np.testing.assert_array_equal(squashed_normal.pooled(alone).mean, mean[0])


def test_entropy_agrees_with_quadrature():
  noise = jax.random.normal(jax.random.key(0), (200_000, 1))
  for mean, log_std in [(0.0, 0.0), (1.0, -2.0), (-0.5, 0.5)]:
    # Over u, where action = tanh(u): -E[log p(u) - log(1 - tanh(u)^2)].
    normal = stats.norm(mean, np.exp(log_std))
    negative = lambda u: normal.pdf(u) * (normal.logpdf(u) - 2 * np.log(1 / np.cosh(u)))
    expected = -integrate.quad(negative, mean - 10, mean + 10)[0]
    policy = jax.tree.map(lambda x: x[None], _policy(mean, log_std))
    actual = squashed_normal.entropy(policy, noise).mean()
    np.testing.assert_allclose(actual, expected, atol=0.01)


def test_entropy_of_a_saturated_policy_is_below_a_uniform_ones():
  entropy = squashed_normal.entropy(_policy(20.0, -1.0), jnp.zeros(1))
  # Its actions lie within about exp(-40) of 1.
  np.testing.assert_allclose(
    entropy, 0.5 * np.log(2 * np.pi * np.e) - 1 + 2 * np.log(2) - 40, rtol=1e-5
  )
