"""Where D4PG's transitions come from: a ring of steps sampled uniformly, or prioritised items."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.agents.d4pg import config as config_lib
from eimitate.agents.d4pg import losses
from eimitate.replay import episodes
from eimitate.replay import prioritised


class Batch(NamedTuple):
  """Transitions to learn from.

  transition: `losses.Transition` of `[B, ...]`.
  index: `[B]` where they are stored; shorter where some are not from the replay.
  likelihood: `[B]` how much likelier each was drawn than uniformly.
  """

  transition: losses.Transition
  index: jax.Array
  likelihood: jax.Array


class Experience(NamedTuple):
  """A replay as pure functions.

  init: `(capacity) -> replay`, with room for so many steps.
  add: `(replay, rows, count) -> replay`, one episode as `episodes.Rows`, padded.
  sample: `(replay, rng_key, batch_size) -> Batch`.
  reprioritise: `(replay, index [B], priority [B]) -> replay`.
  reshard: see `types.Agent`.
  """

  init: Callable[[int], Any]
  add: Callable[[Any, episodes.Rows, jax.Array], Any]
  sample: Callable[[Any, chex.PRNGKey, int], Batch]
  reprioritise: Callable[[Any, jax.Array, jax.Array], Any]
  reshard: Callable[[Any, Any], Any]


def make_experience(config: config_lib.Config, spec: types.EnvironmentSpec) -> Experience:
  """What `config.sampling` names."""
  return {'uniform': _uniform, 'prioritised': _prioritised}[config.sampling](config, spec)


def with_demonstrations(
  own: Batch,
  demonstrations: episodes.Replay,
  rng_key: chex.PRNGKey,
  count: int,
  config: config_lib.Config,
  spec: types.EnvironmentSpec,
) -> Batch:
  """A batch with `count` rows of the demonstrations, drawn uniformly, behind its own.

  Only its own rows have an index. The others are weighed as if they had been drawn uniformly.
  """
  window = episodes.sample(demonstrations, rng_key, count, config.n_step - 1, spec.stack)
  shown = losses.from_window(window, config.discount, config.reward_scale)
  transition = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), own.transition, shown)
  likelihood = jnp.concatenate([own.likelihood, jnp.ones(count)])
  return Batch(transition, own.index, likelihood)


def _uniform(config, spec) -> Experience:
  def sample(replay, rng_key, batch_size):
    window = episodes.sample(replay, rng_key, batch_size, config.n_step - 1, spec.stack)
    transition = losses.from_window(window, config.discount, config.reward_scale)
    return Batch(transition, jnp.zeros(batch_size, jnp.int32), jnp.ones(batch_size))

  return Experience(
    init=lambda capacity: episodes.init(spec, capacity),
    add=episodes.add,
    sample=sample,
    reprioritise=lambda replay, index, priority: replay,
    reshard=episodes.reshard,
  )


def _prioritised(config, spec) -> Experience:
  def transitions(rows, count):
    """Every step of an episode as an n-step transition, and which of them are real."""
    length = len(rows.reward)
    ring = episodes.add(episodes.init(spec, length), rows, count)
    window = episodes.gather(ring, jnp.arange(length), config.n_step - 1, spec.stack)
    transition = losses.from_window(window, config.discount, config.reward_scale)
    return transition, ring.rows.has_action

  def init(capacity):
    items, _ = jax.eval_shape(transitions, episodes.init(spec, 2).rows, jnp.int32(0))
    item = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), items)
    return prioritised.init(item, capacity)

  def sample(replay, rng_key, batch_size):
    drawn = prioritised.sample(replay, rng_key, batch_size, config.priority_exponent)
    return Batch(drawn.items, drawn.index, drawn.likelihood)

  return Experience(
    init=init,
    add=lambda replay, rows, count: prioritised.add(replay, *transitions(rows, count)),
    sample=sample,
    reprioritise=prioritised.reprioritise,
    reshard=prioritised.reshard,
  )
