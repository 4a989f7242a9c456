"""The convolutional encoder of frames (EfficientImitate, appendix A.1.2)."""

from collections.abc import Sequence
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from eimitate.networks import initialisers


class Encoder(nn.Module):
  """Convolutions of stride 2 with ReLU between them and none after the last, a dense layer, ReLU.

  channels: of each convolution.
  first_kernel, kernel: sizes of the first convolution's kernel and of the others'; they are odd,
    and frames are padded by half of them, as in PyTorch.
  output: size of the output.
  """

  channels: Sequence[int]
  output: int
  first_kernel: int = 5
  kernel: int = 3

  @nn.compact
  def __call__(self, frames: jax.Array) -> jax.Array:
    """Maps frames `[..., H, W, C]`, floating point, to `[..., output]`."""
    leading = frames.shape[:-3]
    x = frames.reshape((-1,) + frames.shape[-3:])
    x = convolutions(x, self.channels, (self.first_kernel, self.kernel), (2, 2))
    x = x.reshape(leading + (-1,))
    dense = nn.Dense(
      self.output,
      kernel_init=initialisers.torch_kernel,
      bias_init=initialisers.torch_bias(x.shape[-1]),
    )
    return nn.relu(dense(x))


def convolutions(
  x: jax.Array, channels: Sequence[int], sizes: tuple[int, int], strides: tuple[int, int]
) -> jax.Array:
  """Convolutions of `[N, H, W, C]` with ReLU between them, as layers of a compact module.

  Args:
    x: the frames.
    channels: of each convolution.
    sizes, strides: of the first convolution's kernel, and of the others'; sizes are odd, and frames
      are padded by half of them.
  """
  for i, count in enumerate(channels):
    size = sizes[min(i, 1)]
    x = nn.Conv(
      count,
      (size, size),
      strides=strides[min(i, 1)],
      padding=size // 2,
      conv_general_dilated=convolve,
      kernel_init=initialisers.torch_kernel,
      bias_init=initialisers.torch_bias(size**2 * x.shape[-1]),
    )(nn.relu(x) if i else x)
  return x


def convolve(
  frames: jax.Array,
  kernel: jax.Array,
  strides: Sequence[int],
  padding: Sequence[tuple[int, int]],
  **options: object,
) -> jax.Array:
  """`jax.lax.conv_general_dilated` of `[N, H, W, C]`, with a gradient that is fast on a CPU, too.

  XLA's own gradient of a convolution takes a hundred times longer on a CPU within a loop, where a
  learner's updates are, than outside.
  """
  del options  # flax's defaults: NHWC, no dilation, no groups.
  return _convolve(frames, kernel, tuple(strides), tuple(padding))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(frames, kernel, strides, padding):
  return jax.lax.conv_general_dilated(
    frames, kernel, strides, padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


def _convolve_forward(frames, kernel, strides, padding):
  return _convolve(frames, kernel, strides, padding), (frames, kernel)


def _convolve_backward(strides, padding, saved, gradient):
  convolution = lambda frames, kernel: _convolve.fun(frames, kernel, strides, padding)
  product = lambda frames, kernel: _patches_product(frames, kernel, strides, padding)
  pull_back = lambda function: lambda gradient, *inputs: jax.vjp(function, *inputs)[1](gradient)
  return jax.lax.platform_dependent(
    gradient, *saved, cpu=pull_back(product), default=pull_back(convolution)
  )


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _patches_product(frames, kernel, strides, padding):
  """The same convolution as one matrix product of all patches."""
  padded = jnp.pad(frames, ((0, 0), *padding, (0, 0)))
  sizes = kernel.shape[:2]
  counts = [(n - k) // s + 1 for n, k, s in zip(padded.shape[1:3], sizes, strides)]
  rows, columns = (
    [slice(i, i + s * (n - 1) + 1, s) for i in range(k)] for k, n, s in zip(sizes, counts, strides)
  )
  patches = jnp.concatenate([padded[:, row, column] for row in rows for column in columns], -1)
  return patches @ kernel.reshape(-1, kernel.shape[-1])
