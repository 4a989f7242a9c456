"""A multi-layer perceptron with batch normalisation (EfficientImitate, appendix A.1.2)."""

from collections.abc import Sequence

from flax import linen as nn
import jax

from eimitate.networks import initialisers
from eimitate.networks import mlp


class BatchNormMLP(nn.Module):
  """Dense layers, each normalised over the batch and followed by an activation but for the last.

  It always normalises by the batch that it sees; the running statistics, PyTorch's momentum 0.1,
  are its variable collection `batch_stats`.

  hidden: sizes of the hidden layers.
  output: size of the output.
  activation: a name in `mlp.ACTIVATIONS`.
  normalise_output: whether the last layer is normalised too.
  axis_name: devices that share the batch, if there are several.
  """

  hidden: Sequence[int]
  output: int
  activation: str = 'relu'
  normalise_output: bool = False
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Maps `[..., I]` to `[..., output]`; the batch are the rows of `mask` `[...]`, or all."""
    counted = None if mask is None else mask[..., None]
    for i, size in enumerate((*self.hidden, self.output)):
      last = i == len(self.hidden)
      x = nn.Dense(
        size,
        kernel_init=initialisers.torch_kernel,
        bias_init=initialisers.torch_bias(x.shape[-1]),
      )(x)
      if not last or self.normalise_output:
        # While parameters are made there is no axis.
        axis_name = None if self.is_initializing() else self.axis_name
        x = nn.BatchNorm(use_running_average=False, momentum=0.9, axis_name=axis_name)(
          x, mask=counted
        )
      x = x if last else mlp.ACTIVATIONS[self.activation](x)
    return x
