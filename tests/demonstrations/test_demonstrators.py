from dm_control.rl import control
import numpy as np
import pytest

from eimitate import environments
from eimitate import errors
from eimitate.demonstrations import demonstrators
from eimitate.demonstrations import recording
from eimitate.demonstrations import verification


class _Clock:
  """Just what `smooth` looks at."""

  def __init__(self, seconds):
    self.control_timestep = seconds

  def action_spec(self):
    return np.zeros(2)


@pytest.mark.parametrize('seconds', [0.02, 0.1])
def test_smooth_is_as_slow_and_as_wide_as_it_says(seconds):
  act = demonstrators.smooth(_Clock(seconds), np.random.default_rng(0))
  actions = np.concatenate([act(np.zeros((1, 3))) for _ in range(40_000)])
  assert np.abs(actions).max() == 1
  # A normal of standard deviation 0.5, clipped at two of them: variance 0.25 x 0.9205.
  np.testing.assert_allclose(actions.std(0), np.sqrt(0.25 * 0.9205), rtol=0.05)
  lag = round(0.5 / seconds)
  for i in range(2):
    correlation = np.corrcoef(actions[:-lag, i], actions[lag:, i])[0, 1]
    assert correlation == pytest.approx(np.exp(-1), abs=0.06)


def test_recorded_episodes_replay_and_differ():
  environment = environments.make_environment('reacher/easy', 4)
  short = demonstrators.Demonstrator(demonstrators.smooth, longest=7)
  episodes = recording.record(short, environment, 2, seed=3)
  assert [len(episode.trajectory.actions) for episode in episodes] == [7, 7]
  assert (episodes[0].trajectory.actions != episodes[1].trajectory.actions).all()
  fresh = environments.make_environment('reacher/easy', 4)
  for i, episode in enumerate(episodes):
    assert max(verification._verify_episode(fresh, i, episode)) == 0


def test_an_episode_whose_physics_diverges_is_left_out(monkeypatch):
  environment = environments.make_environment('reacher/easy', 4)
  step, taken = environment.step, []

  def diverge_once(action):
    taken.append(action)
    if len(taken) == 2:
      raise control.PhysicsError('mjWARN_BADQACC')
    return step(action)

  monkeypatch.setattr(environment, 'step', diverge_once)
  short = demonstrators.Demonstrator(demonstrators.smooth, 3)
  attempts = recording.attempts(short, environment, 0)
  episodes, begun = recording.successes(short, attempts, 2)
  assert begun == 3 and [len(episode.trajectory.actions) for episode in episodes] == [3, 3]


def test_the_scripted_arm_looks_after_every_step():
  environment = environments.make_environment('jaco/stack', 2)
  with pytest.raises(errors.InputError, match='action repeat: found 2, expected 1'):
    recording.record(demonstrators.DEMONSTRATORS['direct'], environment, 1, seed=0)


def test_only_successes_are_kept():
  environment = environments.make_environment('reacher/easy', 4)
  right = lambda episode: bool(episode.trajectory.actions[0, 0] > 0)
  picky = demonstrators.Demonstrator(demonstrators.smooth, 3, right)
  kept = recording.record(picky, environment, 3, seed=0)
  assert len(kept) == 3 and all(map(right, kept))
  never = picky._replace(succeeded=lambda episode: False)
  with pytest.raises(errors.InputError, match='0 successes in 10 episodes'):
    recording.record(never, environment, 1, seed=0)
