"""The scripted demonstrators of jaco/stack, and recording in several processes."""

import numpy as np
import pytest

from eimitate import demonstrations
from eimitate import environments
from eimitate import errors
from eimitate.demonstrations import demonstrators
from eimitate.demonstrations import recording
from eimitate.demonstrations import verification


@pytest.fixture(name='recorded', scope='module')
def _recorded():
  environment = environments.make_environment('jaco/stack', 1)
  record = lambda name: recording.record(demonstrators.DEMONSTRATORS[name], environment, 1, seed=5)
  return environment, {name: record(name)[0] for name in ('direct', 'roundabout')}


def test_both_styles_stack_by_stages(recorded):
  for episode in recorded[1].values():
    rewards = episode.trajectory.rewards
    first = [int(np.argmax(rewards == stage)) for stage in (0.25, 0.5, 1)]
    assert 0 < first[0] < first[1] < first[2] and (rewards[-30:] == 1).all()


def test_the_styles_differ(recorded):
  """From the same initial state."""
  environment, episodes = recorded
  direct, roundabout = (episodes[name].trajectory for name in ('direct', 'roundabout'))
  np.testing.assert_array_equal(direct.observations[0], roundabout.observations[0])
  assert np.argmax(roundabout.rewards == 1) > np.argmax(direct.rewards == 1) + 30
  block = lambda x: x.observations[:, environment.parts['target_position']]
  assert block(roundabout)[:, 2].max() > block(direct)[:, 2].max() + 0.02
  length = lambda x: np.linalg.norm(np.diff(block(x), axis=0), axis=1).sum()
  assert length(roundabout) > length(direct) + 0.1


def test_another_task_is_refused():
  environment = environments.make_environment('reacher/easy', 4)
  with pytest.raises(
    errors.InputError, match='demonstrator direct: found another task, expected j'
  ):
    recording.record(demonstrators.DEMONSTRATORS['direct'], environment, 1, seed=0)


@pytest.mark.parametrize('name', ['jaco_stack', 'jaco_stack_roundabout'])
def test_shipped_episodes_replay_exactly(name):
  dataset = demonstrations.load(demonstrations.shipped_path(name))
  [difference] = verification.verify(dataset)
  assert max(difference) == 0
  assert dataset.episodes[0].trajectory.rewards[-1] == 1


def test_processes_record_what_one_does():
  arguments = ('smooth', 'reacher/easy', 4, 7, 0.1)
  with recording.attempts_in_processes(*arguments, processes=2, most=1) as attempts:
    several = [next(attempts) for _ in range(4)]
  environment = environments.make_environment('reacher/easy', 4)
  demonstrator = demonstrators.DEMONSTRATORS['smooth']
  for one, other in zip(recording.attempts(demonstrator, environment, 7, 0.1), several):
    np.testing.assert_array_equal(one.states, other.states)
    np.testing.assert_array_equal(one.trajectory.actions, other.trajectory.actions)
