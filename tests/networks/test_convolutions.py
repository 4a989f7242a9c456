import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate.networks import convolutions


def test_the_papers_encoder():
  """Appendix A.1.2 at 48x48 with four stacked frames: sizes, and what PyTorch's layers would do."""
  encoder = convolutions.Encoder((32, 32, 32, 32), 128)
  frames = jax.random.uniform(jax.random.key(0), (2, 3, 48, 48, 12))
  params = encoder.init(jax.random.key(1), frames)
  shapes = [params['params'][f'Conv_{i}']['kernel'].shape for i in range(4)]
  assert shapes == [(5, 5, 12, 32)] + [(3, 3, 32, 32)] * 3
  assert params['params']['Dense_0']['kernel'].shape == (3 * 3 * 32, 128)
  output = jax.jit(encoder.apply)(params, frames)
  assert output.shape == (2, 3, 128) and float(output.min()) >= 0 and float(output.max()) > 0
  bound = 1 / (5 * 5 * 12) ** 0.5
  kernel = params['params']['Conv_0']['kernel']
  assert 0.99 * bound < float(jnp.abs(kernel).max()) <= bound


def test_one_convolution_by_hand():
  """A frame of one channel: padded by half the kernel, every second place."""
  encoder = convolutions.Encoder((1,), 4, first_kernel=3)
  frame = jnp.arange(16.0).reshape(1, 4, 4, 1)
  params = encoder.init(jax.random.key(0), frame)
  kernel, bias = (np.asarray(params['params']['Conv_0'][name]) for name in ('kernel', 'bias'))
  padded = np.pad(np.arange(16.0).reshape(4, 4), 1)
  seen = [
    (padded[i : i + 3, j : j + 3] * kernel[:, :, 0, 0]).sum() + bias[0]
    for i in (0, 2)
    for j in (0, 2)
  ]
  dense = params['params']['Dense_0']
  expected = np.maximum(np.array(seen) @ dense['kernel'] + dense['bias'], 0)
  np.testing.assert_allclose(encoder.apply(params, frame)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('size, kernel, stride', [(9, 5, 2), (8, 3, 2), (7, 3, 1)])
def test_gradients_are_those_of_the_plain_convolution(size, kernel, stride):
  keys = jax.random.split(jax.random.key(0), 3)
  frames = jax.random.normal(keys[0], (3, size, size + 2, 4))
  weights = jax.random.normal(keys[1], (kernel, kernel, 4, 5))
  strides, padding = (stride, stride), ((kernel // 2, kernel // 2),) * 2

  def plain(frames, weights):
    numbers = ('NHWC', 'HWIO', 'NHWC')
    return jax.lax.conv_general_dilated(
      frames, weights, strides, padding, dimension_numbers=numbers
    )

  own = lambda frames, weights: convolutions.convolve(frames, weights, strides, padding)
  expected, pull_plain = jax.vjp(plain, frames, weights)
  output, pull_own = jax.vjp(jax.jit(own), frames, weights)
  np.testing.assert_array_equal(output, expected)
  gradient = jax.random.normal(keys[2], expected.shape)
  for found, wanted in zip(pull_own(gradient), pull_plain(gradient)):
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
