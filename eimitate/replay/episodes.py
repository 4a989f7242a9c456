"""A ring of steps that knows its episodes; every function is pure and jittable.

One row holds what was observed, the action taken there and what came of it. An episode of `T`
actions fills `T + 1` consecutive rows (modulo the capacity), the last without an action. Each row
carries its episode's number, so a window never mixes two episodes, also after the ring has wrapped
around and half of an old episode is overwritten.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from eimitate import errors
from eimitate import types


class Rows(NamedTuple):
  """Steps in order; `N` rows.

  observation: `[N, O]`, or `[N, height, width, channels]` uint8: each frame is stored once.
  action: `[N, A]`; reward, discount: `[N]`, or `[N, R]` where a step has several rewards.
  has_action: `[N]` bool, false on an episode's last row.
  """

  observation: jax.Array
  action: jax.Array
  reward: jax.Array
  discount: jax.Array
  has_action: jax.Array


class Replay(NamedTuple):
  """The ring.

  rows: `Rows` of `[capacity, ...]`.
  episode: `[capacity]` int32, number of the episode a row belongs to; -1 where nothing is stored.
  cursor: `[]` int32, the next row to write.
  episodes: `[]` int32, number of complete episodes added so far.
  """

  rows: Rows
  episode: jax.Array
  cursor: jax.Array
  episodes: jax.Array


def init(spec: types.EnvironmentSpec, capacity: int) -> Replay:
  """An empty ring of `capacity` rows.

  Raises:
    InputError: if `capacity` cannot hold one transition.
  """
  errors.check(capacity >= 2, 'replay capacity', f'{capacity} rows', 'at least 2')
  rewards = (capacity, spec.rewards) if spec.rewards > 1 else (capacity,)
  rows = Rows(
    observation=jnp.zeros((capacity, *spec.stored.shape), spec.stored.dtype),
    action=jnp.zeros((capacity, spec.action_size)),
    reward=jnp.zeros(rewards),
    discount=jnp.zeros(rewards),
    has_action=jnp.zeros(capacity, bool),
  )
  return Replay(rows, jnp.full(capacity, -1, jnp.int32), jnp.int32(0), jnp.int32(0))


def parts(trajectory: types.Trajectory, longest: int) -> list[types.Trajectory]:
  """The trajectory in parts of at most `longest` actions; where one is cut, time ran out."""

  def part(start):
    these = slice(start, start + longest)
    observations = trajectory.observations[start : start + longest + 1]
    steps = (trajectory.actions, trajectory.rewards, trajectory.discounts)
    return types.Trajectory(observations, *(x[these] for x in steps))

  return [part(start) for start in range(0, len(trajectory.actions), longest)]


def to_rows(trajectory: types.Trajectory) -> Rows:
  """Lays a host trajectory out as `T + 1` rows (NumPy)."""
  last = lambda x: np.concatenate([x, np.zeros_like(x[:1])])
  length = len(trajectory.actions)
  return Rows(
    observation=np.asarray(trajectory.observations),
    action=last(np.asarray(trajectory.actions, np.float32)),
    reward=last(np.asarray(trajectory.rewards, np.float32)),
    discount=last(np.asarray(trajectory.discounts, np.float32)),
    has_action=np.arange(length + 1) < length,
  )


def of(
  spec: types.EnvironmentSpec, trajectories: Sequence[types.Trajectory], capacity: int = 0
) -> Replay:
  """A ring that just holds these episodes, in order.

  Args:
    spec: of the environment.
    trajectories: at least one.
    capacity: of the ring, if more than they need.
  """
  all_rows = [to_rows(trajectory) for trajectory in trajectories]
  lengths = [len(rows.reward) for rows in all_rows]
  missing = max(capacity - sum(lengths), 0)
  together = Rows(*(np.concatenate(parts) for parts in zip(*all_rows)))
  chex.assert_shape(together.observation, (None, *spec.stored.shape))
  rows = pad_rows(together, sum(lengths) + missing)
  episode = np.repeat([*range(len(lengths)), -1], [*lengths, missing]).astype(np.int32)
  cursor = sum(lengths) % len(episode)
  return jax.tree.map(jnp.asarray, Replay(rows, episode, np.int32(cursor), np.int32(len(lengths))))


def pad_rows(rows: Rows, length: int) -> Rows:
  """Pads rows (NumPy) to `length` with zeros, so that `add` compiles once."""
  missing = length - len(rows.reward)
  return Rows(*(np.concatenate([x, np.zeros((missing,) + x.shape[1:], x.dtype)]) for x in rows))


def add(replay: Replay, rows: Rows, count: jax.Array) -> Replay:
  """Writes one episode over the oldest rows.

  Args:
    replay: the ring.
    rows: an episode, padded to any fixed length no longer than the capacity.
    count: `[]` int32, how many of `rows` are real; 0 adds nothing.

  Returns:
    The ring with the episode added.

  Raises:
    InputError: if rows are not what the ring holds, such as floating-point frames.
  """
  capacity, length = len(replay.episode), len(rows.reward)
  for name, ring, new in zip(Rows._fields, replay.rows, rows):
    row = lambda x: f'{x.shape[1:]} {x.dtype}'
    errors.check(row(ring) == row(new), f'replay {name}', row(new), row(ring))
  chex.assert_scalar_non_negative(capacity - length)
  offset = jnp.arange(length)
  # Rows past `count` go out of bounds, where a scatter drops them.
  target = jnp.where(offset < count, (replay.cursor + offset) % capacity, capacity)
  write = lambda ring, new: ring.at[target].set(new, mode='drop')
  return Replay(
    rows=jax.tree.map(write, replay.rows, rows),
    episode=write(replay.episode, jnp.full(length, replay.episodes)),
    cursor=(replay.cursor + count) % capacity,
    episodes=replay.episodes + (count > 0),
  )


def reshard(shards: Replay, like: Replay) -> Replay:
  """The episodes of several rings dealt to another number of rings, oldest first (NumPy).

  Args:
    shards: `[D, ...]`; episode `n` of the run was dealt to ring `n % D`.
    like: `[E, ...]` empty rings. Where they are shorter the oldest episodes go.

  Returns:
    `[E, ...]`.
  """
  shards, rings = jax.tree.map(np.array, shards), jax.tree.map(np.array, like)
  count, capacity = len(shards.cursor), rings.episode.shape[1]
  for number, shard in sorted(_stored(shards)):
    old, new = jax.tree.map(lambda x: x[shard], shards), number % len(rings.cursor)
    order = (np.arange(len(old.episode)) + old.cursor) % len(old.episode)
    source = order[old.episode[order] == number // count][-capacity:]
    target = (np.arange(len(source)) + rings.cursor[new]) % capacity
    for to, rows in zip(rings.rows, old.rows):
      to[new, target] = rows[source]
    rings.episode[new, target] = rings.episodes[new]
    rings.cursor[new] = (rings.cursor[new] + len(source)) % capacity
    rings.episodes[new] += 1
  return rings


def _stored(shards):
  """Number in the run, and shard, of every episode of which something is left."""
  for shard, episode in enumerate(shards.episode):
    for number in np.unique(episode[episode >= 0]):
      yield int(number) * len(shards.episode) + shard, shard


def sample(
  replay: Replay, rng_key: chex.PRNGKey, batch_size: int, unroll: int, stack: int = 1
) -> types.Window:
  """Windows that start at transitions drawn uniformly, with replacement.

  Args:
    replay: a ring with at least one transition.
    rng_key: consumed.
    batch_size: `B`.
    unroll: `H`; windows have `H + 1` transitions and `H + 2` observations.
    stack: frames per observation.

  Returns:
    A `types.Window`. Where the episode ends early its masks are 0.
  """
  cumulative = jnp.cumsum(replay.rows.has_action.astype(jnp.int32))
  rank = jax.random.randint(rng_key, (batch_size,), 0, cumulative[-1])
  start = jnp.searchsorted(cumulative, rank, side='right')
  return gather(replay, start, unroll, stack)


def gather(replay: Replay, start: jax.Array, unroll: int, stack: int = 1) -> types.Window:
  """The windows that start at rows `start` `[B]`; see `sample`."""
  capacity = len(replay.episode)
  offset = jnp.arange(unroll + 2)[None]
  index = (start[:, None] + offset) % capacity
  # A full ring can hold one episode from end to start: its number alone would let a window run
  # on past the episode's last row, which has no action.
  has_action = replay.rows.has_action[index]
  in_episode = replay.episode[index] == replay.episode[start][:, None]
  reached = jnp.cumprod(
    jnp.concatenate([jnp.ones_like(has_action[:, :1]), has_action[:, :-1]], 1), 1
  )
  observation_mask = in_episode & (reached > 0)
  action_mask = observation_mask & has_action
  last = jnp.sum(observation_mask, 1, keepdims=True) - 1
  observations = _stacked(replay, start, jnp.minimum(offset, last), stack)
  transitions, mask = index[:, :-1], action_mask[:, :-1]
  keep = lambda x: jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, 0)
  return types.Window(
    observations=observations,
    actions=keep(replay.rows.action[transitions]),
    rewards=keep(replay.rows.reward[transitions]),
    discounts=keep(replay.rows.discount[transitions]),
    observation_mask=observation_mask.astype(jnp.float32),
    action_mask=mask.astype(jnp.float32),
  )


def _stacked(replay: Replay, start: jax.Array, offset: jax.Array, stack: int) -> jax.Array:
  """What is seen `offset` `[B, T]` rows after `start` `[B]`: `stack` rows, along the last axis.

  Where the episode begins within them its first row is repeated.
  """
  capacity = len(replay.episode)
  back = (start[:, None] - jnp.arange(stack)[None]) % capacity
  # Behind the first row of an episode that fills the ring lies its own last, without an action.
  same = replay.episode[back] == replay.episode[start][:, None]
  same &= replay.rows.has_action[back].at[:, 0].set(True)
  earlier = jnp.cumprod(same, 1).sum(1) - 1
  age = jnp.arange(stack - 1, -1, -1)
  seen = jnp.maximum(offset[..., None] - age[None, None], -earlier[:, None, None])
  rows = replay.rows.observation[(start[:, None, None] + seen) % capacity]
  # [B, T, stack, ..., C] -> [B, T, ..., stack x C].
  rows = jnp.moveaxis(rows, 2, -2)
  return rows.reshape(rows.shape[:-2] + (-1,))
