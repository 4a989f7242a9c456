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

# Positions are in sixteenths of the frame, so that latents are about as large as those of vectors,
# and movements in a quarter of that: they say as much and are smaller.
_PER_FRAME, _PER_MOVEMENT = 16.0, 4.0

# What the small network adds at most, in sixteenths: nothing in the losses fixes how large latents
# are. Where they grew, to 40 times what they had been, no model saw the actions beside them.
_REACH = 4.0


class KeypointEncoder(nn.Module):
  """Points in the newest frame, how far each has moved since the older ones, and a dense layer.

  Every channel of the last convolution is a point: its centre of mass (with another weighting, the
  spatial softmax of Levine et al., 2016). All frames of a stack are looked at alike, so consecutive
  observations share what was found in theirs.

  A point is drawn aside by all else that its channel sees, so a small network, which starts at
  zero, adds to each frame's points what can be told from them all.

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
    points = _PER_FRAME * centres_of_mass(x).reshape((*frames.shape[:-3], -1))
    if self.hidden:
      correction = mlp.MLP(self.hidden, points.shape[-1], zero_last=True)(points)
      points += _REACH * jnp.tanh(correction / _REACH)
    steps = observations.shape[-4]
    ages = [points[..., age : age + steps, :] for age in range(self.stack)]
    moved = [_PER_MOVEMENT * (ages[-1] - older) for older in ages[:-1]]
    features = jnp.concatenate([ages[-1], *moved], -1)
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


def centres_of_mass(maps: jax.Array) -> jax.Array:
  """Mean rows, then mean columns, `[N, 2 C]`, of every map of `[N, H, W, C]`, in frames.

  The middle is 0. What weighs is by how much a map exceeds its mean, in its standard deviations:
  unlike a softmax that is nothing where there is nothing, and what moves by half a pixel of the
  frame moves its centre so far.
  """
  height, width = maps.shape[1:3]
  centred = maps - maps.mean((1, 2), keepdims=True)
  deviation = jnp.sqrt((centred**2).mean((1, 2), keepdims=True) + 1e-6)
  weights = jax.nn.relu(centred / deviation)
  mass = weights.sum((1, 2)) + 1e-2
  from_middle = lambda size: (jnp.arange(size) - (size - 1) / 2) / size
  rows = jnp.einsum('nhwc,h->nc', weights, from_middle(height)) / mass
  columns = jnp.einsum('nhwc,w->nc', weights, from_middle(width)) / mass
  return jnp.concatenate([rows, columns], -1)
