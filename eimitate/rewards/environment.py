"""The reward as it was recorded, of the task or of tracking: a network's head learns to predict it.

Functions of the head's output, which is the reward itself.
"""

import jax


def reward(output: jax.Array) -> jax.Array:
  """The predicted reward, any shape."""
  return output


def loss(output: jax.Array, recorded: jax.Array) -> jax.Array:
  """Half the squared error, elementwise."""
  return (output - recorded) ** 2 / 2
