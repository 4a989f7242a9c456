"""The cross-entropy method over action sequences: a deep and narrow search, for acting.

A tree over sampled actions sees three or four steps ahead on a small budget. Here whole sequences
are drawn, rolled through the model and refitted to the best of them. Where the paper's search
draws an edge's action from the policy or the behaviour-cloning policy, this one draws whole
sequences from them, in the same shares (alpha), and keeps them among the candidates throughout.

That search never leaves the two policies' actions; this one does, and so finds where the value
errs: it is learnt where agent and expert have been. So a sequence pays for its distance from what
the behaviour-cloning policy would do (`bc_penalty`), as actors pay in TD3+BC (Fujimoto and Gu,
2021): little where it does about the same, and not enough to stay where much is to be gained.
"""

import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.ops import squashed_normal
from eimitate.search import base

# Elites are weighed by softmax(_SHARPNESS return): in units of one step's reward.
_SHARPNESS = 3.0
# Spread of the first sequences around the policies' own, at least; and of the last ones.
_FIRST_STD, _LAST_STD = 0.5, 0.05


def make_search(config: base.Config, model: base.Model) -> base.Search:
  """Builds the sequence search; see `base.Search`.

  The candidates it returns are the first actions of the last iteration's elites.
  """
  num_proposals = config.num_sequences // 4
  num_bc = round(config.bc_fraction * num_proposals)

  def propose(params, rng_key, latent):
    """Sequences `[H, B, P, A]` of the policies from `latent` `[B, L]`, the BC policy's last."""
    spread = jnp.broadcast_to(latent[:, None], (len(latent), num_proposals, latent.shape[1]))

    def step(latents, key):
      policy = model.policy(params, latents[:, : num_proposals - num_bc])
      bc_policy = model.bc_policy(params, latents[:, num_proposals - num_bc :])
      policy = jax.tree.map(lambda *x: jnp.concatenate(x, 1), policy, bc_policy)
      action = squashed_normal.from_noise(policy, jax.random.normal(key, policy.mean.shape))
      return model.step(params, latents, action)[1], action

    return jax.lax.scan(step, spread, jax.random.split(rng_key, config.depth))[1]

  def evaluate(params, latent, sequences):
    """Returns `[B, N]` of `sequences` `[H, B, N, A]`: rewards, then the last latent's value."""
    spread = jnp.broadcast_to(latent[:, None], sequences.shape[1:3] + latent.shape[1:])

    def step(carry, action):
      latents, total, discount = carry
      reward, latents = model.step(params, latents, action)
      return (latents, total + discount * reward, discount * model.discount), None

    zeros = jnp.zeros(sequences.shape[1:3])
    (latents, total, discount), _ = jax.lax.scan(step, (spread, zeros, jnp.float32(1)), sequences)
    return total + discount * model.value(params, latents)

  def bc_plan(params, latent):
    """The BC policy's modes `[H, B, A]` from `latent` on: dear, so one for all sequences."""

    def step(latent, _):
      action = squashed_normal.mode(model.bc_policy(params, latent))
      return model.step(params, latent, action)[1], action

    return jax.lax.scan(step, latent, None, config.depth)[1]

  def penalties(plan, sequences):
    """What leaving `plan` `[H, B, A]` costs each of `sequences` `[H, B, N, A]`, `[B, N]`."""
    distances = ((sequences - plan[:, :, None]) ** 2).mean(-1)
    discounts = model.discount ** jnp.arange(config.depth)
    return config.bc_penalty * jnp.tensordot(discounts, distances, 1)

  def search(params, rng_key, latent, *, noise, temperature=0.0):
    propose_key, draw_key, choose_key = jax.random.split(rng_key, 3)
    proposals, plan = propose(params, propose_key, latent), bc_plan(params, latent)
    mean, std = proposals.mean(2), jnp.maximum(proposals.std(2), _FIRST_STD)
    num_drawn = config.num_sequences - num_proposals - 1

    def refine(carry, key):
      mean, std = carry
      shape = mean.shape[:2] + (num_drawn,) + mean.shape[2:]
      drawn = mean[:, :, None] + std[:, :, None] * jax.random.normal(key, shape)
      sequences = jnp.concatenate([proposals, mean[:, :, None], jnp.clip(drawn, -1, 1)], 2)
      score = evaluate(params, latent, sequences)
      if config.bc_penalty and num_bc:
        score -= penalties(plan, sequences)
      returns, best = jax.lax.top_k(score, config.num_elites)
      elites = jnp.take_along_axis(sequences, best[None, :, :, None], 2)
      weights = jax.nn.softmax(_SHARPNESS * returns)
      average = lambda x: (weights[None, :, :, None] * x).sum(2)
      mean = average(elites)
      std = jnp.maximum(jnp.sqrt(average((elites - mean[:, :, None]) ** 2)), _LAST_STD)
      return (mean, std), (elites[0], weights, returns)

    keys = jax.random.split(draw_key, config.num_iterations)
    _, history = jax.lax.scan(refine, (mean, std), keys)
    actions, weights, returns = jax.tree.map(lambda x: x[-1], history)
    gumbel = temperature * jax.random.gumbel(choose_key, weights.shape) if noise else 0.0
    selected = jnp.argmax(jnp.log(weights) + gumbel, 1).astype(jnp.int32)
    return types.SearchOutput((weights * returns).sum(1), actions, weights, selected)

  return search
