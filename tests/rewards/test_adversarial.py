import jax
import jax.numpy as jnp
import numpy as np

from eimitate.rewards import adversarial


def test_reward_is_minus_log_one_minus_d():
  logit = jnp.array([-3.0, 0.0, 2.5])
  d = 1 / (1 + np.exp(-np.asarray(logit)))
  np.testing.assert_allclose(adversarial.reward(logit), -np.log(1 - d), rtol=1e-5)


def test_discriminator_loss_is_binary_cross_entropy():
  logit, label = jnp.array([-1.0, 0.3, 4.0]), jnp.array([0.0, 1.0, 0.0])
  d = 1 / (1 + np.exp(-np.asarray(logit)))
  expected = -(label * np.log(d) + (1 - label) * np.log(1 - d))
  np.testing.assert_allclose(adversarial.discriminator_loss(logit, label), expected, rtol=1e-5)
  assert np.isfinite(adversarial.discriminator_loss(jnp.float32(1e4), jnp.float32(0)))


def test_gradient_penalty_by_hand():
  # logit(x) = x0^2 + 3 x1 at the mix 0.25 (4, 0) + 0.75 (0, 4) = (1, 3): gradient (2, 3).
  logit = lambda x: x[0] ** 2 + 3 * x[1]
  arguments = (logit, jnp.array([4.0, 0.0]), jnp.array([0.0, 4.0]), jnp.float32(0.25))
  np.testing.assert_allclose(
    adversarial.gradient_penalty(*arguments, centre=1.0), (13**0.5 - 1) ** 2, rtol=1e-5
  )
  np.testing.assert_allclose(
    jax.jit(lambda: adversarial.gradient_penalty(*arguments, centre=0.0, scale=2.0))(),
    52,
    rtol=1e-5,
  )


def test_spread_makes_the_penalty_independent_of_units():
  key = jax.random.key(0)
  agent, expert = jax.random.normal(key, (2, 64, 3))
  penalties = []
  for unit in (1.0, 50.0):
    logit = lambda x, unit=unit: jnp.sin(x / unit).sum()
    scale = adversarial.spread(unit * agent, unit * expert, jnp.ones(64))
    penalties.append(
      adversarial.gradient_penalty(
        logit, unit * agent[0], unit * expert[0], 0.3 * jnp.ones(()), 0.0, scale
      )
    )
  np.testing.assert_allclose(*penalties, rtol=1e-4)
