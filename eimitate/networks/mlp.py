"""The multi-layer perceptron, one class for every dense network."""

from collections.abc import Callable, Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from eimitate import errors
from eimitate.networks import initialisers

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  'leaky_relu': nn.leaky_relu,
  'relu': nn.relu,
  'elu': nn.elu,
}


class MLP(nn.Module):
  """Dense layers with an activation between them and none after the last.

  hidden: sizes of the hidden layers; empty for a linear network.
  output: size of the output.
  activation: a name in `ACTIVATIONS`.
  zero_last: weights and biases of the last layer start at zero (appendix A.3).
  normalise_first: the first hidden layer is followed by layer normalisation and tanh instead,
    which makes inputs of any scale alike (Barth-Maron et al., 2018, as usually run on dm_control).
  normalise: layer normalisation precedes every activation (MetaMimic, Figure 3).
  """

  hidden: Sequence[int]
  output: int
  activation: str = 'leaky_relu'
  zero_last: bool = False
  normalise_first: bool = False
  normalise: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps `[..., I]` to `[..., output]`."""
    for i, size in enumerate(self.hidden):
      x = _dense(size, x.shape[-1])(x)
      first = self.normalise_first and i == 0
      x = nn.LayerNorm()(x) if first or self.normalise else x
      x = jnp.tanh(x) if first else ACTIVATIONS[self.activation](x)
    if self.zero_last:
      zeros = nn.initializers.zeros_init()
      return nn.Dense(self.output, kernel_init=zeros, bias_init=zeros)(x)
    return _dense(self.output, x.shape[-1])(x)


def ensemble(members: int) -> Callable[..., nn.Module]:
  """What builds `members` MLPs that start apart: maps `[..., I]` to `[members, ..., output]`."""
  return nn.vmap(
    MLP,
    variable_axes={'params': 0},
    split_rngs={'params': True},
    in_axes=None,
    out_axes=0,
    axis_size=members,
  )


def check_sizes(field: str, sizes: Sequence[int], least: int = 0) -> None:
  """Raises `InputError` unless `sizes` are those of at least so many hidden layers."""
  good = len(sizes) >= least and all(isinstance(size, int) and size > 0 for size in sizes)
  expected = f'whole numbers above 0, at least {least} of them'
  errors.check(good, field, sizes, expected)


def _dense(size: int, fan_in: int) -> nn.Dense:
  return nn.Dense(
    size,
    kernel_init=initialisers.torch_kernel,
    bias_init=initialisers.torch_bias(fan_in),
  )
