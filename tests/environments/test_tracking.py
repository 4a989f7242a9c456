import numpy as np
import pytest

from eimitate import acting
from eimitate import environments
from eimitate.demonstrations import demonstrators
from eimitate.demonstrations import recording
from eimitate.environments import tracking
from eimitate.rewards import tracking as rewards

_TASK = 'ball_in_cup/catch'
_SHORT = demonstrators.Demonstrator(demonstrators.smooth, longest=8)


@pytest.fixture(name='recorded', scope='module')
def _recorded():
  environment = environments.make_environment(_TASK, 4)
  return recording.record(_SHORT, environment, 2, seed=0)


def _follow(recorded, curriculum=0, which=(0, 1), **rules):
  environment = environments.make_environment(_TASK, 4)
  demonstrated = [tracking.demonstrated(environment, episode) for episode in recorded]
  parts = {'position': rewards.Part(3.0, 0.02), 'velocity': rewards.Part(1.0, 1.0)}
  rules = tracking.Rules(parts, 0.5, curriculum)._replace(**rules)
  return tracking.Follow(environment, demonstrated, rules, which)


def _collect(environment, actions, seed=0):
  steps = iter(actions)
  act = lambda observations: next(steps)[None]
  return acting.collect_episodes(act, [environment], [seed]).trajectories[0]


def _drawn(trajectory, recorded):
  """Which demonstration an episode followed."""
  start = trajectory.observations[0, :8]
  return next(x for x in recorded if (x.trajectory.observations == start).all(1).any())


def test_the_demonstrations_own_actions_attain_all(recorded):
  environment = _follow(recorded[:1])
  own = recorded[0].trajectory
  trajectory = _collect(environment, own.actions)
  np.testing.assert_array_equal(trajectory.observations[:, :8], own.observations)
  # Each observation comes with the next one's; the last goal stays.
  np.testing.assert_array_equal(trajectory.observations[:-1, 8:], own.observations[1:])
  np.testing.assert_array_equal(trajectory.observations[-1, 8:], own.observations[-1])
  np.testing.assert_array_equal(trajectory.rewards[:, 0], own.rewards)
  np.testing.assert_array_equal(trajectory.rewards[:, 1], 1)
  # The end of a demonstration is a truncation.
  np.testing.assert_array_equal(trajectory.discounts, 1)
  assert trajectory.discounts.shape == (8, 2)


def test_reward_and_loss_are_of_the_next_observation(recorded):
  own = recorded[0].trajectory
  trajectory = _collect(_follow(recorded[:1]), np.ones((8, 2)))
  seen, shown = trajectory.observations[1:, :8], own.observations[1 : len(trajectory.actions) + 1]
  squared = ((seen - shown) ** 2).reshape(-1, 2, 4).sum(-1)
  expected = (3 * np.exp(-squared[:, 0] / 0.02) + np.exp(-squared[:, 1] / 1.0)) / 4
  np.testing.assert_allclose(trajectory.rewards[:, 1], expected, rtol=1e-5)
  # Lost: a termination for tracking, none for the task, and the episode's end.
  assert len(trajectory.actions) < 8
  assert (expected[:-1] >= 0.5).all() and expected[-1] < 0.5
  np.testing.assert_array_equal(trajectory.discounts[-1], [1, 0])
  np.testing.assert_array_equal(trajectory.discounts[:-1], 1)


def test_lost_tracking_need_not_end_an_episode(recorded):
  trajectory = _collect(_follow(recorded[:1], ends_when_lost=False), np.ones((8, 2)))
  assert len(trajectory.actions) == 8
  lost = np.flatnonzero(trajectory.discounts[:, 1] == 0)
  np.testing.assert_array_equal(lost, np.arange(lost[0], 8))


def test_a_distance_may_end_it(recorded):
  parts = {'position': rewards.Part(1.0, 1e9, farthest=1e-4)}
  trajectory = _collect(_follow(recorded[:1], parts=parts), np.ones((8, 2)))
  assert len(trajectory.actions) == 1 and trajectory.discounts[-1, 1] == 0
  assert trajectory.rewards[0, 1] > 0.99


def test_episodes_begin_within_the_curriculum_and_are_functions_of_their_seed(recorded):
  environment = _follow(recorded, curriculum=4)
  starts = set()
  for seed in range(20):
    trajectory = _collect(environment, np.zeros((8, 2)), seed)
    own = _drawn(trajectory, recorded).trajectory.observations
    step = int(np.flatnonzero((own == trajectory.observations[0, :8]).all(1))[0])
    np.testing.assert_array_equal(trajectory.observations[0, 8:], own[step + 1])
    starts.add((own[0, 3], step))
    again = _collect(environment, np.zeros((8, 2)), seed)
    np.testing.assert_array_equal(trajectory.observations, again.observations)
  assert {step for _, step in starts} == {0, 1, 2, 3} and len({x for x, _ in starts}) == 2


def test_the_same_after_any_other_episode(recorded):
  # A restore must leave nothing of the episode before: contacts, warm starts, time limits.
  environment = _follow(recorded)
  first = _collect(environment, recorded[0].trajectory.actions, seed=3)
  _collect(environment, np.ones((8, 2)), seed=5)
  second = _collect(environment, recorded[0].trajectory.actions, seed=3)
  for a, b in zip(first, second):
    np.testing.assert_array_equal(a, b)


def test_one_reward_alone(recorded):
  trajectory = _collect(_follow(recorded[:1], which=(1,)), recorded[0].trajectory.actions)
  assert trajectory.rewards.shape == trajectory.discounts.shape == (8,)
  np.testing.assert_array_equal(trajectory.rewards, 1)


def test_performing_the_task_shows_no_goal(recorded):
  environment = environments.make_environment(_TASK, 4)
  demonstrated = [tracking.demonstrated(environment, episode) for episode in recorded]
  trajectory = _collect(tracking.Perform(environment), np.zeros((250, 2)), seed=4)
  plain = _collect(environments.make_environment(_TASK, 4), np.zeros((250, 2)), seed=4)
  np.testing.assert_array_equal(trajectory.observations[:, :8], plain.observations)
  np.testing.assert_array_equal(trajectory.observations[:, 8:], 0)
  np.testing.assert_array_equal(trajectory.rewards[:, 0], plain.rewards)
  assert trajectory.task_return == plain.task_return
  begin = tracking.Begin(environment, demonstrated, 3)
  begun = _collect(tracking.Perform(begin), np.zeros((250, 2)), seed=4)
  own = _drawn(begun, recorded).trajectory.observations
  assert (own[:3] == begun.observations[0, :8]).all(1).any()
