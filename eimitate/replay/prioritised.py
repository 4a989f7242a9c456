"""Prioritised replay of items (Schaul et al., 2016; MetaMimic, Table 1): pure and jittable.

Items are sampled in proportion to priority^exponent, and those of the lowest priority leave first
(MetaMimic's prioritised removal), so that this is no ring of steps: an item holds all that an
update needs, for example a whole n-step transition.
"""

from typing import Generic, NamedTuple, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from eimitate import errors

Item = TypeVar('Item')

# Sums of a million float32 numbers lose the small ones; two levels of about a thousand do not.
_BLOCK = 1024


class Replay(NamedTuple, Generic[Item]):
  """The items.

  items: a pytree of `[N, ...]`.
  priority: `[N]` more than 0; 0 where nothing is stored.
  highest: `[]` the highest priority so far: what new items get, so that each is soon seen.
  """

  items: Item
  priority: jax.Array
  highest: jax.Array


class Sample(NamedTuple, Generic[Item]):
  """Items drawn.

  items: a pytree of `[B, ...]`.
  index: `[B]` int32, where they are stored.
  likelihood: `[B]` how much likelier each was than under uniform sampling, N P(i).
  """

  items: Item
  index: jax.Array
  likelihood: jax.Array


def init(item: Item, capacity: int) -> Replay[Item]:
  """Room for at least `capacity` items.

  Args:
    item: a pytree of arrays, or shapes and dtypes, of one item.
    capacity: rounded up to whole blocks of 1024 where it is larger than one.

  Raises:
    InputError: if there is no room.
  """
  errors.check(capacity >= 1, 'replay capacity', f'{capacity} items', 'at least 1')
  rows = capacity if capacity <= _BLOCK else -(-capacity // _BLOCK) * _BLOCK
  items = jax.tree.map(lambda x: jnp.zeros((rows,) + x.shape, x.dtype), item)
  return Replay(items, jnp.zeros(rows), jnp.float32(1))


def add(replay: Replay[Item], items: Item, present: jax.Array) -> Replay[Item]:
  """Stores items in empty places first, then in those of the lowest priorities.

  Args:
    replay: the items so far.
    items: a pytree of `[M, ...]`, no more than there is room for.
    present: `[M]` bool, which of them are real.

  Returns:
    The replay with the present items, at the highest priority so far.
  """
  capacity = len(replay.priority)
  chex.assert_scalar_non_negative(capacity - len(present))
  _, lowest = jax.lax.top_k(-replay.priority, len(present))
  # The present ones take the lowest places; a scatter drops the others, which go out of bounds.
  place = lowest[jnp.maximum(jnp.cumsum(present) - 1, 0)]
  target = jnp.where(present, place, capacity)
  write = lambda old, new: old.at[target].set(new, mode='drop')
  return Replay(
    jax.tree.map(write, replay.items, items),
    write(replay.priority, jnp.broadcast_to(replay.highest, present.shape)),
    replay.highest,
  )


def reshard(shards: Replay[Item], like: Replay[Item]) -> Replay[Item]:
  """The items of several replays dealt to another number of them (NumPy).

  Args:
    shards: `[D, ...]`.
    like: `[E, ...]` empty ones. Where they are smaller the lowest priorities go.

  Returns:
    `[E, ...]`.
  """
  flat = lambda x: np.reshape(x, (-1,) + x.shape[2:])
  items, priority = jax.tree.map(flat, shards.items), flat(np.asarray(shards.priority))
  places, room = like.priority.shape
  order = np.argsort(-priority, kind='stable')[: min((priority > 0).sum(), places * room)]
  rank = np.arange(len(order))

  def deal(empty, stored):
    empty = np.array(empty)
    empty[rank % places, rank // places] = np.asarray(stored)[order]
    return empty

  return Replay(
    jax.tree.map(deal, like.items, items),
    deal(like.priority, priority),
    np.full(places, np.max(shards.highest), np.float32),
  )


def sample(
  replay: Replay[Item], rng_key: chex.PRNGKey, batch_size: int, exponent: float
) -> Sample[Item]:
  """Draws items in proportion to priority^exponent, with replacement.

  Args:
    replay: with at least one item.
    rng_key: consumed.
    batch_size: `B`.
    exponent: 0 draws uniformly.

  Returns:
    A `Sample`.
  """
  stored = replay.priority > 0
  weight = jnp.where(stored, replay.priority**exponent, 0)
  blocks = weight.reshape(-1, min(_BLOCK, len(weight)))
  sums = blocks.sum(1)
  block_key, item_key = jax.random.split(rng_key)
  block = jax.vmap(_draw, (0, None))(jax.random.uniform(block_key, (batch_size,)), sums)
  within = jax.vmap(_draw)(jax.random.uniform(item_key, (batch_size,)), blocks[block])
  index = block * blocks.shape[1] + within
  likelihood = stored.sum() * weight[index] / sums.sum()
  return Sample(jax.tree.map(lambda x: x[index], replay.items), index, likelihood)


def reprioritise(replay: Replay[Item], index: jax.Array, priority: jax.Array) -> Replay[Item]:
  """Gives the items at `index` `[B]` new priorities `[B]`, more than 0."""
  chex.assert_equal_shape([index, priority])
  # 0 would mean that nothing is stored there.
  priority = jnp.maximum(priority, 1e-6)
  return replay._replace(
    priority=replay.priority.at[index].set(priority),
    highest=jnp.maximum(replay.highest, priority.max()),
  )


def _draw(uniform: jax.Array, weight: jax.Array) -> jax.Array:
  """The index `[]` int32 that `uniform` in [0, 1) falls on, in proportion to `weight` `[N]`."""
  cumulative = jnp.cumsum(weight)
  index = jnp.searchsorted(cumulative, uniform * cumulative[-1], side='right')
  # Rounding may lead past the end, and a parallel sum even rises where weights are 0.
  last = jnp.max(jnp.where(weight > 0, jnp.arange(len(weight)), 0))
  return jnp.minimum(index, last).astype(jnp.int32)
