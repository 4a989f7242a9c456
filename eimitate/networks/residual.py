"""The residual tower for frames (MetaMimic, Figure 3; IMPALA, Espeholt et al., 2018).

A section is a convolution, a halving of the frame and residual blocks of two convolutions each, all
with kernels of 3 x 3: four sections with two blocks are twenty convolutions, three are IMPALA's
fifteen.
"""

from collections.abc import Callable, Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from eimitate.networks import convolutions
from eimitate.networks import initialisers
from eimitate.networks import mlp

NORMALISATIONS = ('instance', 'none')


class Tower(nn.Module):
  """Frames to a vector.

  channels: of each section.
  output: size of the vector.
  blocks: residual blocks in a section.
  normalisation: a name in `NORMALISATIONS`: with `instance` each channel of each frame is
    normalised over its places before every activation, and the vector by layer normalisation.
  activation: a name in `mlp.ACTIVATIONS`.
  """

  channels: Sequence[int]
  output: int
  blocks: int = 2
  normalisation: str = 'instance'
  activation: str = 'elu'

  @nn.compact
  def __call__(self, frames: jax.Array) -> jax.Array:
    """Maps frames `[..., H, W, C]`, uint8 or in [0, 1], to `[..., output]`."""
    x = frames / 255 if frames.dtype == jnp.uint8 else frames
    leading = x.shape[:-3]
    x = x.reshape((-1,) + x.shape[-3:])
    for channels in self.channels:
      x = nn.max_pool(self._convolution(channels, x), (3, 3), (2, 2), 'SAME')
      for _ in range(self.blocks):
        y = self._convolution(channels, self._activate(x))
        x = x + self._convolution(channels, self._activate(y))
    x = self._activate(x).reshape(leading + (-1,))
    dense = nn.Dense(
      self.output,
      kernel_init=initialisers.torch_kernel,
      bias_init=initialisers.torch_bias(x.shape[-1]),
    )
    return self._activate(dense(x), nn.LayerNorm)

  def _convolution(self, channels, x):
    return nn.Conv(
      channels,
      (3, 3),
      padding=1,
      conv_general_dilated=convolutions.convolve,
      kernel_init=initialisers.torch_kernel,
      bias_init=initialisers.torch_bias(9 * x.shape[-1]),
    )(x)

  def _activate(self, x, normalisation: Callable = nn.InstanceNorm):
    x = x if self.normalisation == 'none' else normalisation()(x)
    return mlp.ACTIVATIONS[self.activation](x)


class WithFrames(nn.Module):
  """A tower for frames and a dense network for what it gives, beside other vectors."""

  tower: nn.Module
  head: nn.Module

  @nn.compact
  def __call__(self, frames: jax.Array, *vectors: jax.Array) -> jax.Array:
    """Maps frames `[..., H, W, C]` and vectors `[..., N]` to the head's output."""
    return self.head(jnp.concatenate([self.tower(frames), *vectors], -1))
