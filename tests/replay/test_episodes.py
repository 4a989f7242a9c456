import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import types
from eimitate.replay import episodes

_SPEC = types.EnvironmentSpec(observation_size=2, action_size=1)
_CAPACITY, _LONGEST = 23, 12

_add = jax.jit(episodes.add)
_gather = jax.jit(episodes.gather, static_argnums=2)
_sample = jax.jit(episodes.sample, static_argnums=(2, 3))


def _trajectory(number, length, terminal=False):
  """Observation t of episode n is (n, t), action (100 n + t) / 1e4, reward t."""
  t = np.arange(length + 1, dtype=np.float32)
  observations = np.stack([np.full(length + 1, number, np.float32), t], 1)
  discounts = np.ones(length, np.float32)
  discounts[-1] = 0.0 if terminal else 1.0
  return types.Trajectory(observations, (100 * number + t[:-1, None]) / 1e4, t[:-1], discounts)


def test_parts_of_a_long_episode():
  trajectory = _trajectory(3, 7, terminal=True)
  parts = episodes.parts(trajectory, 3)
  assert [len(part.actions) for part in parts] == [3, 3, 1]
  joined = lambda name: np.concatenate([getattr(part, name) for part in parts])
  for name in ('actions', 'rewards', 'discounts'):
    np.testing.assert_array_equal(joined(name), getattr(trajectory, name))
  # Each part's last observation is the next one's first.
  assert [part.observations[:, 1].tolist() for part in parts] == [
    [0, 1, 2, 3],
    [3, 4, 5, 6],
    [6, 7],
  ]
  assert len(episodes.parts(trajectory, 7)) == 1


def _fill(lengths, capacity=_CAPACITY):
  replay = episodes.init(_SPEC, capacity)
  for number, length in enumerate(lengths):
    padded = min(_LONGEST + 1, capacity)
    rows = episodes.pad_rows(episodes.to_rows(_trajectory(number, length)), padded)
    replay = _add(replay, rows, jnp.int32(length + 1))
  return replay


def _check_window(window, lengths):
  """Everything in a window belongs to one episode and says so."""
  observations = np.asarray(window.observations)
  for b in range(len(observations)):
    number, first = observations[b, 0]
    length = lengths[int(number)]
    for h in range(observations.shape[1]):
      t = int(first) + h
      assert window.observation_mask[b, h] == (t <= length)
      np.testing.assert_array_equal(observations[b, h], [number, min(t, length)])
      if h < observations.shape[1] - 1:
        inside = t < length
        assert window.action_mask[b, h] == inside
        action = (100 * number + t) / 1e4 if inside else 0
        np.testing.assert_allclose(window.actions[b, h, 0], action, rtol=1e-6)
        assert window.rewards[b, h] == (t if inside else 0)


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
  strategies.lists(strategies.integers(1, _LONGEST), min_size=1, max_size=12),
  strategies.integers(0, 100),
)
def test_no_window_crosses_an_end_also_after_wrapping(lengths, seed):
  window = _sample(_fill(lengths), jax.random.key(seed), 16, 3)
  _check_window(window, lengths)


@pytest.mark.parametrize('capacity', [0, 17])
def test_a_ring_of_given_episodes_is_what_adding_them_makes(capacity):
  lengths = [3, 1, 4]
  made = episodes.of(_SPEC, [_trajectory(n, length) for n, length in enumerate(lengths)], capacity)
  added = _fill(lengths, capacity or sum(lengths) + len(lengths))
  jax.tree.map(np.testing.assert_array_equal, made, added)


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(strategies.lists(strategies.integers(1, _LONGEST), min_size=1, max_size=12))
def test_ring_holds_the_newest_rows(lengths):
  replay = _fill(lengths)
  rows = [(n, t) for n, length in enumerate(lengths) for t in range(length + 1)][-_CAPACITY:]
  stored = np.asarray(replay.rows.observation)[np.asarray(replay.episode) >= 0]
  assert sorted(map(tuple, stored.tolist())) == sorted((float(n), float(t)) for n, t in rows)
  assert int(replay.episodes) == len(lengths)
  expected = sum(t < lengths[n] for n, t in rows)
  assert int(replay.rows.has_action.sum()) == expected


def test_sampling_is_uniform_over_transitions():
  replay = _fill([3, 9, 5])
  window = _sample(replay, jax.random.key(0), 17000, 1)
  numbers, t = np.asarray(window.observations[:, 0]).T.astype(int)
  counts = np.bincount(10 * numbers + t, minlength=30)
  expected = np.zeros(30)
  expected[[0, 1, 2, *range(10, 19), *range(20, 25)]] = 1000
  np.testing.assert_array_equal(counts[expected == 0], 0)
  np.testing.assert_allclose(counts[expected > 0], 1000, rtol=0.15)


def test_an_episode_that_fills_the_ring_does_not_wrap_into_itself():
  replay = _fill([9], capacity=10)
  _check_window(_gather(replay, jnp.arange(9), 4), [9])


def test_count_zero_adds_nothing():
  replay = _fill([3])
  rows = episodes.pad_rows(episodes.to_rows(_trajectory(7, 4)), _LONGEST + 1)
  same = _add(replay, rows, jnp.int32(0))
  jax.tree.map(np.testing.assert_array_equal, replay, same)


def test_termination_is_kept():
  replay = episodes.init(_SPEC, _CAPACITY)
  rows = episodes.to_rows(_trajectory(0, 4, terminal=True))
  window = episodes.gather(episodes.add(replay, rows, jnp.int32(5)), jnp.array([2]), 3)
  np.testing.assert_array_equal(window.discounts[0], [1, 0, 0, 0])
  np.testing.assert_array_equal(window.action_mask[0], [1, 1, 0, 0])


def test_capacity_is_checked():
  with pytest.raises(ValueError, match='replay capacity: found 1 rows, expected at least 2'):
    episodes.init(_SPEC, 1)


def test_resharding_keeps_the_newest_episodes():
  """Ten episodes dealt to 3 rings that hold three each, then to 2 that hold four, then to 5."""

  def dealt(count, capacity, numbers, lengths):
    rings = [episodes.init(_SPEC, capacity) for _ in range(count)]
    for number in numbers:
      rows = episodes.pad_rows(episodes.to_rows(_trajectory(number, lengths[number])), 8)
      rings[number % count] = _add(rings[number % count], rows, jnp.int32(lengths[number] + 1))
    return jax.tree.map(lambda *x: np.stack(x), *rings)

  def contents(rings):
    """Observations of every episode, by the ring."""
    found = []
    for ring in range(len(rings.cursor)):
      one = jax.tree.map(lambda x: x[ring], rings)
      numbers = sorted(set(one.episode[one.episode >= 0]))
      order = (np.arange(len(one.episode)) + one.cursor) % len(one.episode)
      rows = [one.rows.observation[order][one.episode[order] == n] for n in numbers]
      found.append([x.tolist() for x in rows])
    return found

  lengths = [6] * 10
  three = dealt(3, 21, range(10), lengths)
  two = episodes.reshard(three, dealt(2, 28, (), lengths))
  # Of ring 0's four episodes 0, 3, 6, 9 the first is gone.
  assert contents(two) == contents(dealt(2, 28, range(1, 10), lengths))
  five = episodes.reshard(two, dealt(5, 21, (), lengths))
  assert sum(map(len, contents(five))) == 8


def test_frames_are_stored_once_and_stacked_when_sampled():
  """Frame t of episode n is full of 10 n + t; at an episode's start its first frame repeats."""
  spec = types.EnvironmentSpec(0, 1, frame=(2, 3, 1), stack=3)
  assert spec.observed == (2, 3, 3)
  ring = episodes.init(spec, 14)
  for number, length in enumerate((4, 3, 3)):
    frames = 10 * number + np.arange(length + 1, dtype=np.uint8)
    frames = np.broadcast_to(frames[:, None, None, None], (length + 1, 2, 3, 1))
    trajectory = _trajectory(number, length)._replace(observations=frames)
    ring = episodes.add(ring, episodes.to_rows(trajectory), jnp.int32(length + 1))
  assert ring.rows.observation.dtype == np.uint8 and ring.rows.observation.shape == (14, 2, 3, 1)
  start = jnp.array([0, 3, 5])
  window = episodes.gather(ring, start, 2, spec.stack)
  assert window.observations.shape == (3, 4, 2, 3, 3) and window.observations.dtype == np.uint8
  # Row 13 is the next row's predecessor in the ring and another episode.
  seen = window.observations[:, :, 0, 0]
  assert seen[0].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]]
  assert seen[1].tolist() == [[1, 2, 3], [2, 3, 4], [2, 3, 4], [2, 3, 4]]
  assert seen[2].tolist() == [[10, 10, 10], [10, 10, 11], [10, 11, 12], [11, 12, 13]]


def test_stacks_do_not_reach_around_a_ring_that_one_episode_fills():
  spec = types.EnvironmentSpec(0, 1, frame=(1, 1, 1), stack=4)
  frames = np.arange(7, dtype=np.uint8)[:, None, None, None]
  ring = episodes.of(spec, [_trajectory(0, 6)._replace(observations=frames)])
  seen = episodes.gather(ring, jnp.array([0, 1]), 1, spec.stack).observations[:, 0, 0, 0]
  assert seen.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]


def test_rows_of_another_kind_are_refused():
  spec = types.EnvironmentSpec(0, 1, frame=(2, 3, 1))
  replay = episodes.init(spec, 8)
  for shape, dtype, found in [
    ((5, 2, 3, 1), np.float32, r'\(2, 3, 1\) float32'),
    ((5, 2, 3, 3), np.uint8, r'\(2, 3, 3\) uint8'),
  ]:
    trajectory = _trajectory(0, 4)._replace(observations=np.zeros(shape, dtype))
    with pytest.raises(ValueError, match=f'replay observation: found {found}, expected .*uint8'):
      _add(replay, episodes.to_rows(trajectory), 5)
