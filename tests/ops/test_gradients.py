import jax
import numpy as np

from eimitate.ops import gradients


def test_scale_gradient():
  value, gradient = jax.value_and_grad(lambda x: 3 * gradients.scale_gradient(x, 0.5))(2.0)
  np.testing.assert_allclose([value, gradient], [6.0, 1.5])
