import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import agents
from eimitate import types
from eimitate.networks import mlp
from eimitate.networks import residual
from eimitate.networks import table

_d4pg = agents.d4pg


def _shapes(config, channels=3):
  """The policy's and the critic's for jaco/stack at 128 x 128; nothing is computed."""
  spec = types.EnvironmentSpec(0, 9, frame=(128, 128, channels), stack=1)
  return jax.eval_shape(_d4pg.make_networks(config, spec).init, jax.random.key(0))


def _kernels(params):
  leaves = jax.tree.leaves(params)
  return [leaf.shape for leaf in leaves if leaf.ndim == 4]


@pytest.mark.parametrize('channels', [3, 6])  # The task's frame, or a goal beside it.
def test_metamimics_network(channels):
  """Figure 3: twenty convolutions, up to 512 channels, about 22 million parameters."""
  params = _shapes(_d4pg.Config(), channels)
  for network, inputs, outputs in (('policy', 0, 9), ('critic', 9, 101)):
    kernels = _kernels(params[network])
    assert len(kernels) == 20 and max(shape[-1] for shape in kernels) == 512
    expected, before = 0, channels
    for width in (64, 128, 256, 512):
      expected += 9 * before * width + width + 4 * (9 * width * width + width)
      expected += 2 * 4 * width  # Scales and biases of four instance normalisations.
      before = width
    expected += 2 * 512  # The last one.
    sizes = (8 * 8 * 512, 256), (256 + inputs, 256), (256, 256), (256, outputs)
    expected += sum((a + 1) * b for a, b in sizes) + 3 * 2 * 256
    assert table.count(params[network]) == expected
    assert 22.0e6 < expected < 23.0e6


def test_impalas_network():
  params = _shapes(_d4pg.Config(tower=_d4pg.IMPALA, policy=(192,)))['policy']
  kernels = _kernels(params)
  assert len(kernels) == 15 and max(shape[-1] for shape in kernels) == 32
  assert 1.55e6 < table.count(params) < 1.65e6


def test_depth_width_and_normalisation_are_settings():
  count = lambda **changed: table.count(
    _shapes(_d4pg.Config(tower=_d4pg.TowerConfig(**changed)))['policy']
  )
  assert count(blocks=1) < count() and count(channels=(64, 64)) != count()
  # Scales and biases of sixteen and one instance and of three layer normalisations.
  assert count() - count(normalisation='none') == 2 * (4 * 960 + 512 + 3 * 256)


def _conv(x, layer):
  padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
  out = np.zeros(x.shape[:2] + layer['bias'].shape)
  for i, j in np.ndindex(*x.shape[:2]):
    patch = padded[i : i + 3, j : j + 3]
    out[i, j] = np.einsum('ijc,ijcd->d', patch, layer['kernel']) + layer['bias']
  return out


def _halve(x):
  """Three by three, every second place; an even length is padded at its end."""
  padded = np.pad(x, ((0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
  n, m = x.shape[0] // 2, x.shape[1] // 2
  return np.array(
    [[padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(m)] for i in range(n)]
  )


def _activate(x, layer):
  axes = tuple(range(x.ndim - 1)) or (0,)
  x = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-6) * layer['scale'] + layer['bias']
  return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def test_tower_by_loops():
  tower = residual.Tower((4, 5), 7, blocks=1)
  frames = jax.random.randint(jax.random.key(0), (2, 8, 8, 3), 0, 256).astype(jnp.uint8)
  params = jax.eval_shape(tower.init, jax.random.key(1), frames)
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda x: rng.normal(size=x.shape, scale=0.3).astype(np.float32), params)
  output = jax.jit(tower.apply)(params, frames)
  layers = jax.tree.map(np.asarray, params['params'])
  x = np.asarray(frames[1]) / 255
  for section in range(2):
    conv, norm = 3 * section, 2 * section
    x = _halve(_conv(x, layers[f'Conv_{conv}']))
    y = _conv(_activate(x, layers[f'InstanceNorm_{norm}']), layers[f'Conv_{conv + 1}'])
    x = x + _conv(_activate(y, layers[f'InstanceNorm_{norm + 1}']), layers[f'Conv_{conv + 2}'])
  flat = _activate(x, layers['InstanceNorm_4']).ravel()
  vector = flat @ layers['Dense_0']['kernel'] + layers['Dense_0']['bias']
  np.testing.assert_allclose(
    output[1], _activate(vector, layers['LayerNorm_0']), rtol=1e-3, atol=1e-4
  )


def test_layer_normalisation_between_dense_layers():
  network = mlp.MLP((6, 5), 2, 'elu', normalise=True)
  params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 3)))['params']
  assert {'LayerNorm_0', 'LayerNorm_1'} <= set(params)
  x = jax.random.normal(jax.random.key(1), (4, 3))
  layers = jax.tree.map(np.asarray, params)
  expected = np.asarray(x)
  for i in range(2):
    expected = expected @ layers[f'Dense_{i}']['kernel'] + layers[f'Dense_{i}']['bias']
    expected = np.stack([_activate(row, layers[f'LayerNorm_{i}']) for row in expected])
  expected = expected @ layers['Dense_2']['kernel'] + layers['Dense_2']['bias']
  output = jax.jit(network.apply)({'params': params}, x)
  np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


def test_table():
  text = table.table({'a': jnp.zeros((2, 3)), 'b': {'c': jnp.zeros(1000)}})
  lines = [line.split() for line in text.splitlines()]
  assert lines == [['a', '(2,', '3)', '6'], ['b/c', '(1000,)', '1,000'], ['all', '1,006']]
