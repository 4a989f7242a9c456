"""pUCT selection over sampled actions, with EfficientZero's values for what is unvisited.

mctx calls the selection functions once per tree (it vmaps them) and `refresh` once per simulation
on the whole batch; `Statistics` travels between them as mctx's `extra_data`.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from eimitate.search import base

TIE = 1e-6  # Scores this close are equal.
_SMALLEST_RANGE = 0.01


class Statistics(NamedTuple):
  """What selection needs beside mctx's tree, `[B, ...]`.

  prior: `[B, K]` of the root.
  root_q: `[B, K]` initial values of the root's children.
  lowest, highest: `[B]` of all Q values in the tree, initial ones included.
  mean_q: `[B, N]` per node, the value of its unvisited children.
  """

  prior: jax.Array
  root_q: jax.Array
  lowest: jax.Array
  highest: jax.Array
  mean_q: jax.Array


def init_statistics(prior: jax.Array, root_q: jax.Array, num_nodes: int) -> Statistics:
  """Statistics of trees that are only a root; `prior` and `root_q` are `[B, K]`."""
  mean_q = jnp.zeros((len(root_q), num_nodes))
  return Statistics(prior, root_q, root_q.min(1), root_q.max(1), mean_q)


def make_root_selection(config: base.Config):
  """mctx's root selection: unvisited children have their initial Q."""

  def select(rng_key, tree, node):
    statistics = tree.extra_data
    return _select(config, rng_key, tree, node, statistics.prior, statistics.root_q)

  return select


def make_interior_selection(config: base.Config):
  """mctx's selection below the root: unvisited children have their parent's mean Q."""

  def select(rng_key, tree, node, depth):
    del depth
    prior = 1 / config.num_actions
    return _select(config, rng_key, tree, node, prior, tree.extra_data.mean_q[node])

  return select


def exploration(config: base.Config, total: jax.Array) -> jax.Array:
  """c(s) sqrt(total) (Eq. 2 and 3); `total` is the sum of the children's visits."""
  return (config.c1 + jnp.log((1 + config.c2 + total) / config.c2)) * jnp.sqrt(total)


def normalise(q: jax.Array, lowest: jax.Array, highest: jax.Array) -> jax.Array:
  """Min-max over the tree, clipped to [0, 1]; a tree without a range is only clipped."""
  spread = highest - lowest
  scaled = (q - lowest) / jnp.maximum(spread, _SMALLEST_RANGE)
  return jnp.clip(jnp.where(spread > 0, scaled, q), 0, 1)


def break_ties(rng_key: chex.PRNGKey, scores: jax.Array) -> jax.Array:
  """A uniformly random index among the highest of `scores` `[K]`.

  Noise added to the scores would vanish in float32 and always leave the lowest index.
  """
  tied = scores >= scores.max() - TIE
  return jnp.argmax(jnp.where(tied, jax.random.uniform(rng_key, scores.shape), -1)).astype(
    jnp.int32
  )


def refresh(tree):
  """The tree `[B, ...]` with `Statistics` brought up to date after a simulation."""
  statistics = tree.extra_data
  q = tree.children_rewards + tree.children_discounts * tree.children_values
  visited = tree.children_visits > 0
  return tree.replace(
    extra_data=statistics._replace(
      lowest=jnp.minimum(statistics.root_q.min(1), jnp.where(visited, q, jnp.inf).min((1, 2))),
      highest=jnp.maximum(statistics.root_q.max(1), jnp.where(visited, q, -jnp.inf).max((1, 2))),
      mean_q=_mean_q(q, visited, tree.parents),
    )
  )


def _select(config, rng_key, tree, node, prior, unvisited_q):
  visits = tree.children_visits[node]
  q = tree.children_rewards[node] + tree.children_discounts[node] * tree.children_values[node]
  statistics = tree.extra_data
  q = jnp.where(visits > 0, q, unvisited_q)
  value = normalise(q, statistics.lowest, statistics.highest)
  bonus = exploration(config, visits.sum().astype(jnp.float32)) * prior / (1 + visits)
  return break_ties(rng_key, value + bonus)


def _mean_q(q: jax.Array, visited: jax.Array, parents: jax.Array) -> jax.Array:
  """EfficientZero's mean Q of every node, `[B, N]`.

  At the root the mean over visited children; below, (mean_q(parent) + sum of q) / (visited + 1).
  That is an affine function of the parent's mean: it is composed along the path to the root by
  pointer jumping, in log2(depth) rounds.

  Args:
    q: `[B, N, K]` of the children.
    visited: `[B, N, K]` bool.
    parents: `[B, N]` int32, -1 at the root.
  """
  total, count = jnp.where(visited, q, 0).sum(2), visited.sum(2)
  is_root = jnp.arange(q.shape[1]) == 0
  slope = jnp.where(is_root, 0, 1 / (count + 1))
  offset = total / jnp.where(is_root, jnp.maximum(count, 1), count + 1)

  def jump(carry):
    slope, offset, ancestor = carry
    follow = lambda x: jnp.take_along_axis(x, ancestor, 1)
    return slope * follow(slope), offset + slope * follow(offset), follow(ancestor)

  reached_root = lambda carry: jnp.any(carry[2] > 0)
  # The root's slope is 0, so jumping from it changes nothing.
  carry = jump((slope, offset, jnp.maximum(parents, 0)))
  return jax.lax.while_loop(reached_root, jump, carry)[1]
