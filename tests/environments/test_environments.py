from dm_control.mujoco import engine
from dm_env import specs
import numpy as np
import pytest

from eimitate import acting
from eimitate import environments
from eimitate.environments import suite
from tests.environments import fakes

_FACTORY = 'tests.environments.fakes:make'
# What presses or accelerates is sensed by stepping: after a restore it is known from the next step.
# (finger and hopper touch nothing so early.)
_SENSING = ('dog/', 'manipulator/', 'quadruped/', 'stacker/')


def test_suite_conventions():
  environment = environments.make_environment('cartpole/swingup', 8)
  assert environments.environment_spec(environment)[:2] == (5, 1)
  assert environment.control_timestep == pytest.approx(0.08)
  timestep = environment.reset()
  assert timestep.observation.dtype == np.float32 and timestep.observation.shape == (5,)
  steps = 0
  while not timestep.last():
    timestep = environment.step(np.zeros(1))
    steps += 1
  # 1000 simulator steps; the time limit is a truncation.
  assert steps == 125 and timestep.discount == 1.0


def test_reward_is_summed_over_the_repeat():
  returns = []
  for repeat in (1, 8):
    environment = environments.make_environment('cartpole/swingup', repeat)
    environment.seed(3)
    environment.reset()
    action = np.array([0.7])
    returns.append(sum(environment.step(action).reward for _ in range(80 // repeat)))
  np.testing.assert_allclose(*returns, rtol=1e-9)


@pytest.mark.parametrize('task', [*suite.TASKS, 'jaco/stack'])
def test_exact_restore_in_another_environment(task):
  rng = np.random.default_rng(0)
  first, second = (environments.make_environment(task, 1) for _ in range(2))
  size = environments.environment_spec(first).action_size
  first.seed(1)
  first.reset()
  for _ in range(3):
    timestep = first.step(rng.uniform(-1, 1, size))
  state, fields = first.save()
  second.seed(2)
  second.reset()
  second.restore(state, fields)
  if not task.startswith(_SENSING):
    np.testing.assert_array_equal(second.observe(), timestep.observation)
  for _ in range(3):
    action = rng.uniform(-1, 1, size)
    a, b = first.step(action), second.step(action)
    np.testing.assert_array_equal(a.observation, b.observation)
    assert a.reward == b.reward


def test_what_the_task_draws_anew_must_be_known():
  environment = environments.make_environment('point_mass/hard', 1)
  environment.reset()
  state, fields = environment.save()
  del fields['wrap_prm']
  with pytest.raises(ValueError, match='model fields: found none called wrap_prm, expected it, as'):
    environment.restore(state, fields)


def test_state_needs_no_renderer(monkeypatch):
  def refuse(**_):
    raise RuntimeError('No OpenGL rendering backend is available.')

  monkeypatch.setattr(engine._render, 'Renderer', refuse)
  environments.make_environment('quadruped/escape', 1).reset()


def test_seeded_episodes_depend_on_nothing_before():
  environment = environments.make_environment('ball_in_cup/catch', 4)
  zero = lambda observations: np.zeros((len(observations), 2))
  a, b, c = (acting.collect_episodes(zero, [environment], [seed])[0][0] for seed in (5, 6, 5))
  np.testing.assert_array_equal(a.observations, c.observations)
  assert (a.observations != b.observations).any()


def test_own_environment_is_made_canonical():
  environment = environments.make_environment('point', 3, _FACTORY)
  assert environments.environment_spec(environment)[:2] == (2, 1)
  [trajectory], _ = acting.collect_episodes(lambda o: np.ones((1, 1)), [environment], [0])
  # Actions of 1 become 4: 0.2 a step, 20 steps in repeats of 3; the last repeat is cut short.
  assert trajectory.actions.shape == (7, 1)
  np.testing.assert_allclose(np.ptp(trajectory.observations[:, 0]), 4.0, rtol=1e-5)
  np.testing.assert_array_equal(trajectory.discounts, 1)


def test_episodes_of_different_lengths_and_termination():
  # The second is pushed out past 5 and terminates; one actor waits for the other.
  class Far(fakes.PointMass):
    def reset(self):
      timestep = super().reset()
      self._position = 4.7
      return timestep

  made = [environments.make_environment('point', 1, _FACTORY), environments.Canonical(Far())]
  trajectories, _ = acting.collect_episodes(lambda o: np.array([[0.0], [1.0]]), made, [0, 0])
  assert [len(trajectory.actions) for trajectory in trajectories] == [20, 2]
  assert trajectories[1].discounts[-1] == 0 and trajectories[0].discounts[-1] == 1


class Failing(fakes.PointMass):
  """Diverges or raises at its third step, or never begins."""

  def __init__(self, how):
    super().__init__()
    self._how = how

  def reset(self):
    if self._how == 'reset':
      raise OSError('no licence')
    return super().reset()

  def step(self, action):
    timestep = super().step(action)
    if self._steps < 3:
      return timestep
    if self._how == 'raise':
      raise RuntimeError('physics')
    return timestep._replace(reward=np.nan)


def test_a_failing_environment_costs_its_own_episode_only(caplog):
  made = [fakes.PointMass(), Failing('raise'), Failing('diverge'), Failing('reset')]
  made = [environments.Canonical(environment) for environment in made]
  collected = acting.collect_episodes(lambda o: np.zeros((4, 1)), made, range(4))
  lengths = [len(x.actions) if x else None for x in collected.trajectories]
  assert lengths == [20, 2, 2, None] and collected.failures == {
    'RuntimeError': 1,
    'FloatingPointError': 1,
    'OSError': 1,
  }
  cut = collected.trajectories[1]
  assert cut.observations.shape == (3, 2) and cut.discounts[-1] == 1
  assert 'RuntimeError: physics' in caplog.text and 'not finite' in caplog.text


def test_a_diverging_simulation_ends_the_episode():
  """MuJoCo warns of it, and goes on with zeros."""
  environment = environments.make_environment('cartpole/swingup', 8)
  steps = iter(range(1000))

  def act(observations):
    if next(steps) == 3:
      environment._environment.physics.data.qvel[:] = 1e30
    return np.zeros((len(observations), 1))

  collected = acting.collect_episodes(act, [environment], [0])
  assert collected.failures == {'PhysicsError': 1}
  assert len(collected.trajectories[0].actions) == 3
  collected = acting.collect_episodes(act, [environment], [0])
  assert not collected.failures and len(collected.trajectories[0].actions) == 125


def test_actions_are_of_the_environments_own_type():
  environment = fakes.PointMass()
  spec = specs.BoundedArray((1,), np.float32, 0.1, 0.7)
  environment.action_spec = lambda: spec
  step = environment.step
  environment.step = lambda action: step(spec.validate(action))
  wrapped = environments.Canonical(environment)
  wrapped.reset()
  for action in (-1, 0.7, 1):
    wrapped.step(np.array([action], np.float32))


def test_nothing_but_failures():
  made = [environments.Canonical(Failing('reset')) for _ in range(2)]
  collected = acting.collect_episodes(lambda o: np.zeros((2, 1)), made, range(2))
  assert collected.trajectories == [None, None] and sum(collected.failures.values()) == 2


@pytest.mark.parametrize(
  'task, repeat, factory, message',
  [
    ('cartpole/swngup', 8, '', "task: found 'cartpole/swngup', expected one of .*cartpole/swingup"),
    ('cartpole', 8, '', "task: found 'cartpole'"),
    ('cartpole/swingup', -1, '', 'action repeat: found -1, expected at least 1'),
    ('x', 1, 'tests.environments.fakes', 'config.environment: found .*expected module:function'),
    ('x', 1, 'no.such:make', 'config.environment: found .*No module named'),
    ('x', 1, 'tests.environments.fakes:none', 'config.environment: found'),
    ('x', 1, 'tests.environments.fakes:NOT_CALLABLE', 'config.environment: found'),
  ],
)
def test_bad_input(task, repeat, factory, message):
  with pytest.raises(ValueError, match=message):
    environments.make_environment(task, repeat, factory)


def test_unbounded_actions_are_refused():
  class Unbounded(fakes.PointMass):
    def action_spec(self):
      return specs.BoundedArray((1,), float, -np.inf, np.inf)

  with pytest.raises(ValueError, match='action spec: found .*expected finite bounds'):
    environments.Canonical(Unbounded())


def test_action_repeat_of_the_paper():
  assert environments.resolve_action_repeat('cartpole/swingup', 0) == 8
  assert environments.resolve_action_repeat('cartpole/swingup', 4) == 4
  assert environments.resolve_action_repeat('cartpole/balance', 0) == 1
  assert environments.resolve_action_repeat('cartpole/swingup', 0, _FACTORY) == 1
