import jax
import jax.numpy as jnp
import numpy as np

from eimitate.networks import mlp


def test_torch_default_initialisation():
  params = mlp.MLP((400,), 300).init(jax.random.key(0), jnp.zeros((1, 100)))['params']
  for layer, fan_in in (('Dense_0', 100), ('Dense_1', 400)):
    for leaf in ('kernel', 'bias'):
      values, bound = np.asarray(params[layer][leaf]), fan_in**-0.5
      assert abs(values).max() <= bound
      # A uniform's standard deviation.
      np.testing.assert_allclose(values.std(), bound / 3**0.5, rtol=0.1)


def test_zero_last_layer():
  module = mlp.MLP((8,), 4, zero_last=True)
  params = module.init(jax.random.key(0), jnp.zeros((1, 3)))
  np.testing.assert_array_equal(module.apply(params, jnp.ones((5, 3))), 0)


def test_an_ensemble_is_networks_that_start_apart():
  x = jnp.ones((5, 3))
  module, alone = mlp.ensemble(2)((8,), 4), mlp.MLP((8,), 4)
  params = module.init(jax.random.key(0), x)['params']
  outputs = module.apply({'params': params}, x)
  assert outputs.shape == (2, 5, 4)
  for i in range(2):
    member = {'params': jax.tree.map(lambda p: p[i], params)}
    np.testing.assert_allclose(outputs[i], alone.apply(member, x), rtol=1e-5)
  assert jnp.abs(outputs[0] - outputs[1]).min() > 1e-3


def test_by_hand():
  # leaky ReLU: (1, -2) -> (1, -0.02), then summed, plus 0.5.
  params = {
    'Dense_0': {'kernel': jnp.eye(2), 'bias': jnp.zeros(2)},
    'Dense_1': {'kernel': jnp.ones((2, 1)), 'bias': jnp.array([0.5])},
  }
  output = mlp.MLP((2,), 1).apply({'params': params}, jnp.array([[1.0, -2.0]]))
  np.testing.assert_allclose(output, [[1.48]], rtol=1e-6)


def test_no_hidden_layer_is_linear():
  params = mlp.MLP((), 4).init(jax.random.key(0), jnp.zeros((1, 3)))['params']
  assert list(params) == ['Dense_0']
