"""An encoder of frames whose features are positions: what moves, moves linearly in them."""

from collections.abc import Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from eimitate.networks import convolutions
from eimitate.networks import initialisers
from eimitate.networks import mlp

# Of the first convolution, and of the others.
KERNELS, STRIDES = (5, 3), (3, 1)


class KeypointEncoder(nn.Module):
  """Points in the newest frame, how far each has moved since the older ones, and a dense layer.

  Every channel of the last convolution is a point: the mean position under a softmax of that
  channel, normalised, over the frame (the spatial softmax of Levine et al., 2016). All frames of a
  stack are looked at alike, so consecutive observations share what was found in theirs.

  A point is drawn towards the middle by all else that its channel sees, so a small network, which
  starts at zero, adds to each frame's points what can be told from them all.

  channels: of each convolution, see `KERNELS` and `STRIDES`.
  hidden: layer sizes of that network; empty for the points as they are.
  stack: frames in an observation, the newest last.
  output: size of the output.
  """

  channels: Sequence[int]
  stack: int
  output: int
  hidden: Sequence[int] = ()

  @nn.compact
  def __call__(self, observations: jax.Array) -> jax.Array:
    """Maps `[..., T, H, W, stack x C]`, floating point, to `[..., T, output]`.

    The `T` observations are consecutive: of all but the first only the newest frame is looked at.
    """
    frames = distinct_frames(observations, self.stack)
    x = frames.reshape((-1, *frames.shape[-3:]))
    x = convolutions.convolutions(x, self.channels, KERNELS, STRIDES)
    points = mean_positions(x).reshape((*frames.shape[:-3], -1))
    if self.hidden:
      points += mlp.MLP(self.hidden, points.shape[-1], zero_last=True)(points)
    steps = observations.shape[-4]
    ages = [points[..., age : age + steps, :] for age in range(self.stack)]
    features = jnp.concatenate([ages[-1], *(ages[-1] - older for older in ages[:-1])], -1)
    dense = nn.Dense(
      self.output,
      kernel_init=initialisers.torch_kernel,
      bias_init=initialisers.torch_bias(features.shape[-1]),
    )
    return dense(features)


def distinct_frames(observations: jax.Array, stack: int) -> jax.Array:
  """Consecutive observations `[..., T, H, W, stack x C]` as `[..., T + stack - 1, H, W, C]`."""
  first = jnp.stack(jnp.split(observations[..., 0, :, :, :], stack, -1), -4)
  newest = jnp.split(observations[..., 1:, :, :, :], stack, -1)[-1]
  return jnp.concatenate([first, newest], -4)


def mean_positions(maps: jax.Array) -> jax.Array:
  """Mean rows, then mean columns, `[N, 2 C]`, of every map of `[N, H, W, C]`, in its pixels.

  The mean is under a softmax of the map, which is taken from its mean and divided by its standard
  deviation first. The middle is 0.
  """
  height, width = maps.shape[1:3]
  centred = maps - maps.mean((1, 2), keepdims=True)
  deviation = jnp.sqrt((centred**2).mean((1, 2), keepdims=True) + 1e-6)
  weights = jax.nn.softmax(centred / deviation, (1, 2))
  from_middle = lambda size: jnp.arange(size) - (size - 1) / 2
  rows = jnp.einsum('nhwc,h->nc', weights, from_middle(height))
  columns = jnp.einsum('nhwc,w->nc', weights, from_middle(width))
  return jnp.concatenate([rows, columns], -1)
