"""As `test_tracking`, of environments on device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eimitate import acting_on_device
from eimitate import environments
from eimitate import errors
from eimitate import types
from eimitate.environments import on_device
from eimitate.environments import tracking
from eimitate.environments import tracking_on_device
from eimitate.rewards import tracking as rewards
from tests.environments import fakes_on_device

_LENGTH = 8
_TAKE = lambda params, actions, seen: actions


def _batch(count, longest=_LENGTH):
  return environments.OnDevice(fakes_on_device.make(), 1, 1).of(count, longest)


@pytest.fixture(name='recorded', scope='module')
def _recorded():
  actions = np.random.default_rng(0).uniform(-1, 1, (_LENGTH, 3, 1)).astype(np.float32)
  return acting_on_device.record(_TAKE, None, _batch(3), 0, actions)


def _follow(recorded, count, curriculum=0, ends=True, width=0.1, which=(0, 1), **settings):
  batch = _batch(count, 20)
  shown = tracking_on_device.show(batch, recorded, max(curriculum, 1))
  parts = {'observation': rewards.Part(1.0, width)}
  rules = tracking.Rules(parts, 0.5, curriculum, ends)
  return tracking_on_device.Follow(batch, shown, rules, which, **settings)


def test_the_demonstrations_own_actions_attain_all(recorded):
  batch = _follow(recorded, 3, in_turn=True)
  actions = np.stack([episode.trajectory.actions for episode in recorded], 1)
  for episode, trajectory in zip(
    recorded, acting_on_device.rollout(_TAKE, None, batch, 0, actions)[0]
  ):
    own = episode.trajectory
    np.testing.assert_array_equal(trajectory.observations[:, :2], own.observations)
    np.testing.assert_array_equal(trajectory.observations[:-1, 2:], own.observations[1:])
    np.testing.assert_array_equal(trajectory.observations[-1, 2:], own.observations[-1])
    np.testing.assert_array_equal(trajectory.rewards[:, 0], own.rewards)
    np.testing.assert_array_equal(trajectory.rewards[:, 1], 1)
    # The end of a demonstration is a truncation.
    np.testing.assert_array_equal(trajectory.discounts, 1)
    assert trajectory.discounts.shape == (_LENGTH, 2)


@pytest.mark.parametrize('ends', [True, False])
def test_reward_and_loss_are_of_the_next_observation(recorded, ends):
  batch = _follow(recorded, 3, ends=ends, in_turn=True)
  actions = np.ones((_LENGTH, 3, 1), np.float32)
  for episode, trajectory in zip(
    recorded, acting_on_device.rollout(_TAKE, None, batch, 0, actions)[0]
  ):
    steps = len(trajectory.actions)
    seen, shown = trajectory.observations[1:, :2], episode.trajectory.observations[1:]
    near = np.exp(-((seen - shown[:steps]) ** 2).sum(1) / 0.1)
    np.testing.assert_allclose(trajectory.rewards[:, 1], near, rtol=1e-4)
    first = int(np.argmax(near < 0.5))
    assert near[first] < 0.5 and steps == (first + 1 if ends else _LENGTH)
    # A termination of tracking, not of the task.
    np.testing.assert_array_equal(trajectory.discounts[:, 1], np.arange(steps) < first)
    np.testing.assert_array_equal(trajectory.discounts[:, 0], 1)


def test_episodes_begin_within_the_curriculum_in_any_demonstration(recorded):
  batch = _follow(recorded, 64, curriculum=4)
  seen = np.asarray(jax.jit(batch.reset)(jax.random.key(0)).observation)
  starts = set()
  for observation in seen:
    steps = int(observation[1])
    [which] = [
      i for i, x in enumerate(recorded) if x.trajectory.observations[steps, 0] == observation[0]
    ]
    np.testing.assert_array_equal(
      observation[2:], recorded[which].trajectory.observations[steps + 1]
    )
    starts.add((which, steps))
  assert starts == {(which, step) for which in range(3) for step in range(4)}


def test_some_perform_the_task_without_a_goal(recorded):
  batch = _follow(recorded, 5, performers=2)
  assert batch.longest_episode == 20
  for i, trajectory in enumerate(
    acting_on_device.rollout(_TAKE, None, batch, 0, np.ones((20, 5, 1), np.float32))[0]
  ):
    performs = i >= 3
    assert (trajectory.observations[:, 2:] == 0).all() == performs
    if performs:
      assert len(trajectory.actions) == 20
      positions = trajectory.observations[1:, 0]
      np.testing.assert_allclose(trajectory.rewards[:, 0], np.exp(-(positions**2)), rtol=1e-4)
      np.testing.assert_array_equal(trajectory.rewards[:, 1], 0)
      np.testing.assert_array_equal(trajectory.discounts, 1)


def test_the_task_may_begin_within_demonstrations(recorded):
  batch = _follow(recorded, 32, curriculum=4, performers=31, task_curriculum=3)
  seen = np.asarray(jax.jit(batch.reset)(jax.random.key(0)).observation)[1:]
  assert (seen[:, 2:] == 0).all() and {0, 1, 2} == set(seen[:, 1].astype(int))
  shown = {float(x) for episode in recorded for x in episode.trajectory.observations[:3, 0]}
  assert {float(x) for x in seen[:, 0]} <= shown


def test_demonstrations_of_different_lengths_at_an_action_repeat():
  """The shorter begin anew while the longest goes on."""
  plain = environments.OnDevice(fakes_on_device.make(), 2, 3)
  actions = np.random.default_rng(1).uniform(-1, 1, (9, 3, 1)).astype(np.float32)
  whole = acting_on_device.record(_TAKE, None, plain.of(3, 9), 0, actions)
  recorded = []
  for episode, length in zip(whole, (4, 9, 6)):
    observations, *rest = episode.trajectory
    cut = types.Trajectory(observations[: length + 1], *(x[:length] for x in rest))
    recorded.append(types.Demonstration(cut, episode.states[: length + 1], {}))
  shown = tracking_on_device.show(plain, recorded, 1)
  rules = tracking.Rules({'observation': rewards.Part(1.0, 0.1)}, 0.5)
  batch = tracking_on_device.Follow(plain, shown, rules, in_turn=True)
  assert batch.longest_episode == 9
  take = lambda actions, seen: actions
  rows = acting_on_device.collect(take, batch, jax.random.key(0), actions).rows
  for i, episode in enumerate(recorded):
    own, steps = episode.trajectory, len(episode.trajectory.actions)
    np.testing.assert_array_equal(rows.observation[i, : steps + 1, :2], own.observations)
    np.testing.assert_array_equal(rows.observation[i, :steps, 2:], own.observations[1:])
    np.testing.assert_allclose(rows.reward[i, :steps, 1], 1)
    np.testing.assert_array_equal(rows.reward[i, :steps, 0], own.rewards)
    assert rows.has_action[i, :steps].all() and not rows.has_action[i, steps]
    if steps < 9:  # The same demonstration again, from its beginning.
      np.testing.assert_array_equal(rows.observation[i, steps + 1, :2], own.observations[0])
      np.testing.assert_array_equal(rows.observation[i, steps + 1, 2:], own.observations[1])


def test_what_fails_was_never_done(recorded):
  simulation = fakes_on_device.make_diverging()
  batch = environments.OnDevice(simulation, 1, 3)
  shown = tracking_on_device.show(batch, recorded, 1)
  rules = tracking.Rules({'observation': rewards.Part(1.0, 1e9)}, 0.0)
  follow = tracking_on_device.Follow(batch, shown, rules, in_turn=True)
  left = np.full((_LENGTH, 3, 1), -1.0, np.float32)  # All are left of 0 after four steps.
  for trajectory in acting_on_device.rollout(_TAKE, None, follow, 0, left)[0]:
    assert np.isfinite(trajectory.rewards).all() and len(trajectory.actions) <= 5
    np.testing.assert_allclose(trajectory.rewards[:, 1], 1, atol=1e-5)
    np.testing.assert_array_equal(trajectory.discounts, 1)
  # A recording has no use for half an episode.
  assert acting_on_device.record(_TAKE, None, batch.of(3, _LENGTH), 0, left) == [None] * 3


def test_devices_share_both_kinds(recorded):
  batch = _follow(recorded, 6, performers=2)
  assert len(batch.share(2)) == 3 and batch.share(2)._performers == 1
  with pytest.raises(errors.InputError, match='task_actors: found 2, expected a multiple of the 3'):
    batch.share(3)


def test_one_reward_alone(recorded):
  batch = _follow(recorded, 3, which=(tracking.TRACKING,), in_turn=True)
  actions = np.stack([episode.trajectory.actions for episode in recorded], 1)
  for trajectory in acting_on_device.rollout(_TAKE, None, batch, 0, actions)[0]:
    np.testing.assert_array_equal(trajectory.rewards, np.ones(_LENGTH))
    np.testing.assert_array_equal(trajectory.discounts, np.ones(_LENGTH))
  assert batch.spec.rewards == 1 and batch.spec.goal == 2 and batch.spec.observation_size == 4


def test_states_are_exact_as_rows_whatever_their_types():
  numbers = {
    'large': np.array([2**31 - 1, -(2**31)], np.int32),
    'unsigned': np.array([[2**32 - 1], [7]], np.uint32),
    'flag': np.array([True, False]),
    'real': np.array([1 / 3, 1e-38], np.float32),
  }
  keys = jax.random.split(jax.random.key(5), 2)
  saved = numbers | {'key': keys}

  def reset(rng_key):
    return jax.tree.map(lambda x: x[0], saved) | {'key': rng_key}, jnp.zeros(1)

  simulation = fakes_on_device.make()._replace(reset=reset, observation_size=1)
  batch = environments.OnDevice(simulation, 1, 2)
  states = batch.reset(jax.random.key(0))._replace(simulation=saved)
  restored = batch.from_rows(on_device.to_rows(jax.device_get(batch.save(states))))
  for name, leaf in numbers.items():
    np.testing.assert_array_equal(restored[name], leaf)
    assert restored[name].dtype == leaf.dtype
  assert (jax.random.key_data(restored['key']) == jax.random.key_data(keys)).all()
  with pytest.raises(errors.InputError, match='state: found size 3, expected 6'):
    batch.from_rows(np.zeros((2, 3)))
