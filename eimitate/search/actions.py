"""Where a node's K actions come from: (1 - alpha) K from the policy, alpha K from the BC policy.

The first slots are the policy's, the last the behaviour-cloning policy's (appendix A.2, Eq. 1).
"""

import chex
import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.ops import squashed_normal
from eimitate.search import base


def sample_root_actions(
  config: base.Config,
  model: base.Model,
  params: types.Params,
  rng_key: chex.PRNGKey,
  latent: jax.Array,
) -> jax.Array:
  """All K actions of each root, `[B, K, A]` for latents `[B, L]`."""
  # A leading axis for the slots.
  policy, bc_policy = (
    jax.tree.map(lambda x: x[None], policy(params, latent))
    for policy in (model.policy, model.bc_policy)
  )
  batch, size = policy.mean.shape[1:]
  noise = jax.random.normal(rng_key, (config.num_actions, batch, size))
  split = config.num_actions - config.num_bc_actions
  actions = jnp.concatenate(
    [
      squashed_normal.from_noise(policy, noise[:split]),
      squashed_normal.from_noise(bc_policy, noise[split:]),
    ]
  )
  return actions.swapaxes(0, 1)


def draw_action(
  model: base.Model,
  params: types.Params,
  latent: jax.Array,
  from_bc: jax.Array,
  noise: jax.Array,
) -> jax.Array:
  """One action of each node, `[B, A]`, drawn when its edge is first followed.

  A slot that no simulation follows is never looked at, so drawing late is the same in distribution
  as drawing all K at expansion, and K times cheaper.

  Args:
    model: the model.
    params: its parameters.
    latent: `[B, L]` of the nodes.
    from_bc: `[B]` bool, whether the behaviour-cloning policy draws it.
    noise: `[B, A]` standard normal.
  """
  choose = lambda own, bc: jnp.where(from_bc[:, None], bc, own)
  policy = jax.tree.map(choose, model.policy(params, latent), model.bc_policy(params, latent))
  return squashed_normal.from_noise(policy, noise)
