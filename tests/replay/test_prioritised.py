import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate.replay import prioritised

_add = jax.jit(prioritised.add)


def _filled(priorities, capacity=None):
  """A replay whose item i is the number i, with the given priorities."""
  priorities = np.asarray(priorities, np.float32)
  replay = prioritised.init(jnp.float32(0), capacity or len(priorities))
  replay = _add(replay, jnp.arange(float(len(priorities))), jnp.ones(len(priorities), bool))
  number = replay.items.astype(jnp.int32)
  stored = replay.priority > 0
  return replay._replace(priority=jnp.where(stored, jnp.asarray(priorities)[number], 0))


@pytest.mark.parametrize('exponent', [0.0, 0.6, 1.0])
def test_sampled_in_proportion_to_priority(exponent):
  priorities = np.array([0.1, 1.0, 2.0, 5.0])
  drawn = prioritised.sample(_filled(priorities), jax.random.key(0), 40_000, exponent)
  expected = priorities**exponent / (priorities**exponent).sum()
  counts = np.bincount(np.asarray(drawn.items, int), minlength=4)
  np.testing.assert_allclose(counts / 40_000, expected, atol=0.01)
  np.testing.assert_allclose(drawn.likelihood, 4 * expected[drawn.items.astype(int)], rtol=1e-5)


def test_empty_places_are_never_drawn():
  replay = _filled([1.0, 1.0, 1.0], capacity=9)
  drawn = prioritised.sample(replay, jax.random.key(0), 1000, 0.0)
  assert set(np.asarray(drawn.items, int)) == {0, 1, 2}
  np.testing.assert_allclose(drawn.likelihood, 1, rtol=1e-6)


def test_nothing_is_drawn_where_a_parallel_sum_still_rises():
  """The highest uniforms, at every fill of a block."""
  near = 1 - 2.0 ** -np.arange(24, 17, -1)
  weights = np.random.default_rng(0).uniform(0.1, 1, (1023, 1024)).astype(np.float32)
  weights *= np.arange(1024)[None] < np.arange(1, 1024)[:, None]
  draw = jax.jit(jax.vmap(jax.vmap(prioritised._draw, (0, None)), (None, 0)))
  drawn = np.asarray(draw(jnp.asarray(near, jnp.float32), jnp.asarray(weights)))
  assert (np.take_along_axis(weights, drawn, 1) > 0).all()


def test_small_priorities_among_a_million_are_not_lost():
  """After half a million of 10.0 one running float32 sum moves in steps of 0.5: not by 0.05."""
  capacity, half, draws = 1 << 20, 1 << 19, 1 << 14
  priority = jnp.where(jnp.arange(capacity) < half, 10.0, 0.05)
  replay = prioritised.Replay(jnp.arange(capacity), priority, jnp.float32(10))
  keys = jax.random.split(jax.random.key(0), 32)
  one = lambda key: prioritised.sample(replay, key, draws // 32, 1.0).index
  index = np.asarray(jax.jit(lambda: jax.lax.map(one, keys))()).ravel()
  expected = draws * 0.05 / 10.05
  assert abs((index >= half).sum() - expected) < 4 * expected**0.5
  assert abs((index < half // 2).sum() - draws * 5 / 10.05) < 4 * draws**0.5


def test_lowest_priorities_leave_first():
  replay = _filled([3.0, 1.0, 4.0, 2.0])
  replay = _add(replay, jnp.array([10.0, 11.0, 12.0]), jnp.array([True, False, True]))
  assert set(np.asarray(replay.items, int)) == {0, 2, 10, 12}


def test_new_items_get_the_highest_priority():
  replay = prioritised.reprioritise(_filled([1.0, 1.0, 1.0, 1.0]), jnp.array([2]), jnp.array([7.0]))
  replay = _add(replay, jnp.array([9.0]), jnp.array([True]))
  assert float(replay.priority[jnp.argmax(replay.items)]) == 7


def test_priority_never_falls_to_empty():
  replay = prioritised.reprioritise(_filled([1.0, 1.0]), jnp.array([0]), jnp.array([0.0]))
  assert float(replay.priority.min()) > 0


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), max_size=6))
def test_nothing_is_lost_while_there_is_room(batches):
  """As long as there is room nothing is lost; later exactly the room is used."""
  replay, added = prioritised.init(jnp.int32(0), 7), []
  for number, present in enumerate(batches):
    items = 1 + 3 * number + np.arange(3)
    replay = _add(replay, jnp.asarray(items, jnp.int32), jnp.array(present))
    added += [item for item, here in zip(items, present) if here]
  stored = np.asarray(replay.items)[np.asarray(replay.priority) > 0]
  assert len(stored) == min(len(added), 7)
  assert set(stored) <= set(added)


def test_no_room():
  with pytest.raises(ValueError, match='replay capacity: found 0 items, expected at least 1'):
    prioritised.init(jnp.float32(0), 0)


def test_resharding_keeps_the_highest_priorities():
  shards = jax.tree.map(lambda *x: jnp.stack(x), _filled([3.0, 1.0]), _filled([2.0, 5.0]))
  like = jax.tree.map(lambda *x: jnp.stack(x), *[prioritised.init(jnp.float32(0), 1)] * 3)
  dealt = prioritised.reshard(shards, like)
  assert dealt.priority.ravel().tolist() == [5, 3, 2] and dealt.items.ravel().tolist() == [1, 0, 0]
