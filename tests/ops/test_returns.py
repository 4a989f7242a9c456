import jax
import numpy as np

from eimitate.ops import returns


def _by_loop(rewards, discounts, mask, gamma):
  total, ahead = 0.0, 1.0
  for reward, discount, there in zip(rewards, discounts, mask):
    if not there:
      break
    total += ahead * reward
    ahead *= gamma * discount
  return total, ahead


def test_agrees_with_a_loop():
  rng = np.random.default_rng(0)
  rewards = rng.normal(size=(50, 5)).astype(np.float32)
  lengths = rng.integers(1, 6, 50)
  mask = (np.arange(5)[None] < lengths[:, None]).astype(np.float32)
  discounts = np.ones((50, 5), np.float32)
  # Half of the episodes that end within the window terminate there, the others are cut off.
  for i in range(0, 50, 2):
    discounts[i, lengths[i] - 1] = 0
  total, ahead = jax.jit(returns.n_step, static_argnums=3)(rewards, discounts, mask, 0.9)
  expected = [_by_loop(*row, 0.9) for row in zip(rewards, discounts, mask)]
  np.testing.assert_allclose(total, [x[0] for x in expected], rtol=1e-5)
  np.testing.assert_allclose(ahead, [x[1] for x in expected], rtol=1e-5)
  assert ahead[0] == 0 and ahead[1] > 0
