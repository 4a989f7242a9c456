"""The adversarial reward: a discriminator tells the agent's steps from the expert's.

Functions of logits; the discriminator's network belongs to the agent. `agent = 0, expert = 1`.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp


def reward(logit: jax.Array) -> jax.Array:
  """-log(1 - D) = softplus(logit), any shape (EfficientImitate, section 3)."""
  return jax.nn.softplus(logit)


def discriminator_loss(logit: jax.Array, is_expert: jax.Array) -> jax.Array:
  """Binary cross-entropy of sigmoid(logit) with `is_expert` (0 or 1), elementwise, in nats."""
  return jax.nn.softplus(logit) - is_expert * logit


def spread(
  agent: jax.Array, expert: jax.Array, mask: jax.Array, axis_name: str | None = None
) -> jax.Array:
  """Root mean squared distance of those agent and expert pairs that count, `[]`.

  Args:
    agent: `[..., X]` the agent's inputs.
    expert: `[..., X]` the expert's.
    mask: `[...]`, 1 where both rows of a pair are within their episodes, else 0.
    axis_name: the mean is over the pairs of all devices on that axis, if there are several.
  """
  total = lambda x: x.sum() if axis_name is None else jax.lax.psum(x.sum(), axis_name)
  squared = total(mask * jnp.sum((agent - expert) ** 2, -1)) / jnp.maximum(total(mask), 1)
  return jnp.sqrt(squared + 1e-12)


def gradient_penalty(
  logit_fn: Callable[[jax.Array], jax.Array],
  agent: jax.Array,
  expert: jax.Array,
  mix: jax.Array,
  centre: float,
  scale: jax.Array | float = 1.0,
) -> jax.Array:
  """(scale ||grad logit(x)|| - centre)^2 at a random mix x of an agent and an expert input.

  Args:
    logit_fn: maps `[X]` to a scalar logit.
    agent: `[X]` an agent's input.
    expert: `[X]` an expert's input.
    mix: `[]` in [0, 1], the agent's share.
    centre: the norm that costs nothing: 1 in the paper.
    scale: multiplies the norm. With `spread` the penalty no longer depends on the inputs' units:
      scale ||grad|| is about the gap between an agent's and an expert's logit.

  Returns:
    `[]` the penalty of this pair.
  """
  chex.assert_rank([agent, expert, mix], [1, 1, 0])
  gradient = jax.grad(logit_fn)(mix * agent + (1 - mix) * expert)
  norm = jnp.sqrt(jnp.sum(gradient**2) + 1e-12)
  return (scale * norm - centre) ** 2
