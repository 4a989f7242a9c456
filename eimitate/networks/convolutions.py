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
  by_xla = lambda gradient, *inputs: jax.vjp(convolution, *inputs)[1](gradient)
  by_products = functools.partial(_gradients, strides, padding)
  return jax.lax.platform_dependent(gradient, *saved, cpu=by_products, default=by_xla)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _gradients(strides, padding, gradient, frames, kernel):
  """The same gradients: of frames as a convolution without strides, of the kernel as products."""
  sizes, counts = kernel.shape[:2], gradient.shape[1:3]
  # Every frame's pixel is a sum over the outputs whose patches it is in.
  apart = [s * (n - 1) + 1 for s, n in zip(strides, counts)]
  spread = jnp.zeros((len(gradient), *apart, gradient.shape[-1]), gradient.dtype)
  spread = spread.at[:, :: strides[0], :: strides[1]].set(gradient)
  around = [
    (k - 1 - p, n + p - a) for k, (p, _), n, a in zip(sizes, padding, frames.shape[1:3], apart)
  ]
  turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
  of_frames = _convolve.fun(spread, turned, (1, 1), around)
  # Every weight meets one pixel of each patch.
  padded = jnp.pad(frames, ((0, 0), *padding, (0, 0)))
  rows, columns = ([slice(i, i + a, s) for i in range(k)] for k, a, s in zip(sizes, apart, strides))
  met = [padded[:, row, column] for row in rows for column in columns]
  of_kernel = jnp.stack([jnp.einsum('nhwi,nhwo->io', x, gradient) for x in met])
  return of_frames, of_kernel.reshape(kernel.shape)
