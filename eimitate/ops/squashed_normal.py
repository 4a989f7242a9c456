"""The tanh-squashed normal distribution over actions in (-1, 1)^A (appendix A.1.1).

Finite, with finite gradients, for every |a| <= 1: recorded actions are clipped to
+-(1 - 1e-3) inside `log_prob`, and log standard deviations are bounded smoothly to (-5, 2) with
slope 1 at 0, so that a zero-initialised network starts at standard deviation 1.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
_ACTION_LIMIT = 1 - 1e-3


class SquashedNormal(NamedTuple):
  """tanh(Normal(mean, exp(log_std))); both fields `[..., A]`."""

  mean: jax.Array
  log_std: jax.Array


def from_outputs(outputs: jax.Array) -> SquashedNormal:
  """Splits a network's `[..., 2A]` outputs into mean and bounded log standard deviation."""
  mean, raw = jnp.split(outputs, 2, -1)
  upper = LOG_STD_MAX * jnp.tanh(raw / LOG_STD_MAX)
  lower = -LOG_STD_MIN * jnp.tanh(raw / -LOG_STD_MIN)
  return SquashedNormal(mean, jnp.where(raw > 0, upper, lower))


def from_noise(policy: SquashedNormal, noise: jax.Array) -> jax.Array:
  """Actions `[..., A]` for standard normal `noise`, broadcast against the policy."""
  return jnp.tanh(policy.mean + jnp.exp(policy.log_std) * noise)


def mode(policy: SquashedNormal) -> jax.Array:
  """The squashed mean `[..., A]`."""
  return jnp.tanh(policy.mean)


def pooled(members: SquashedNormal) -> SquashedNormal:
  """One distribution for equally likely `members`, fields `[M, ..., A]`, of an ensemble.

  Its mode is the mean of theirs, and it is as wide, before it is squashed, as they are together:
  where they disagree it is wide (as in Lakshminarayanan et al., 2017). One member is itself.
  """
  if len(members.mean) == 1:
    return jax.tree.map(lambda x: x[0], members)
  mean = jnp.arctanh(jnp.clip(mode(members).mean(0), -_ACTION_LIMIT, _ACTION_LIMIT))
  variance = jnp.exp(2 * members.log_std).mean(0) + members.mean.var(0)
  return SquashedNormal(mean, jnp.minimum(0.5 * jnp.log(variance), LOG_STD_MAX))


def entropy(policy: SquashedNormal, noise: jax.Array) -> jax.Array:
  """The entropy in nats, summed over the action's parts, `[...]`.

  Exact but for the squashing, whose mean log slope has no closed form and is taken at `noise`,
  standard normal `[..., A]`. Before it is squashed an action cannot be lost to rounding, as those
  of a saturated policy are in `log_prob`.
  """
  u = policy.mean + jnp.exp(policy.log_std) * noise
  normal = 0.5 * jnp.log(2 * jnp.pi * jnp.e) + policy.log_std
  return (normal + _log_slope(u)).sum(-1)


def log_prob(policy: SquashedNormal, action: jax.Array) -> jax.Array:
  """Log density of `action` `[..., A]`, summed over the action's parts, `[...]`.

  The change of variables uses log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)), which does not
  cancel.
  """
  chex.assert_equal(policy.mean.shape[-1], action.shape[-1])
  u = jnp.arctanh(jnp.clip(action, -_ACTION_LIMIT, _ACTION_LIMIT))
  scaled = (u - policy.mean) * jnp.exp(-policy.log_std)
  normal = -0.5 * (scaled**2 + jnp.log(2 * jnp.pi)) - policy.log_std
  return (normal - _log_slope(u)).sum(-1)


def _log_slope(u):
  """log(1 - tanh(u)^2)."""
  return 2 * (jnp.log(2.0) - u - jax.nn.softplus(-2 * u))
