"""Two-block stacking: conventions, stages of the reward, and what a state determines."""

import mujoco
import numpy as np
import pytest

from eimitate import environments
from eimitate.environments import jaco
from eimitate.environments import tracking as following
from eimitate.rewards import tracking

from dm_control import composer  # After the library, which chooses MuJoCo's renderer.


@pytest.fixture(name='environment', scope='module')
def _environment():
  return environments.make_environment('jaco/stack', 1)


def _reset(environment, seed):
  environment.seed(seed)
  return environment.reset()


def test_conventions(environment):
  assert environments.environment_spec(environment)[:2] == (63, 9)
  assert environment.control_timestep == pytest.approx(0.05)
  timestep, steps = _reset(environment, 0), 0
  blocks = timestep.observation[environment.parts['target_position']]
  while not timestep.last():
    timestep = environment.step(np.eye(9)[0])
    steps += 1
  assert steps == environment.longest_episode == 300 and timestep.discount == 1.0
  np.testing.assert_allclose(
    timestep.observation[environment.parts['target_position']], blocks, atol=1e-3
  )


def test_actions_are_joint_velocities(environment):
  _reset(environment, 0)
  for _ in range(6):
    timestep = environment.step(np.array([1, 0, 0, 0, 0, -1, 0, 0, 0]))
  velocities = timestep.observation[environment.parts['arm_velocities']]
  wanted = np.deg2rad([36, 0, 0, 0, 0, -48])
  # Gravity makes resting joints sag a little.
  np.testing.assert_allclose(velocities, wanted, atol=0.05)
  np.testing.assert_allclose(environment.physics.data.ctrl[6:], 0)
  environment.step(np.ones(9))
  np.testing.assert_allclose(environment.physics.data.ctrl[6:], 5)


def test_seeded_starts(environment):
  starts = {seed: _reset(environment, seed).observation for seed in range(20)}
  np.testing.assert_array_equal(_reset(environment, 3).observation, starts[3])
  parts = environment.parts
  assert len({tuple(start) for start in starts.values()}) == 20
  for start in starts.values():
    apart = np.linalg.norm(start[parts['block_to_block']])
    assert 0.08 <= apart <= 0.29 and np.abs(start[parts['base_position']][:2]).max() <= 0.1
    assert 0.14 < start[parts['hand_position']][2] < 0.31


def test_stages_of_the_reward(environment):
  _reset(environment, 1)
  task, physics = environment.task, environment.physics
  data = physics.data.ptr
  fingers = data.site_xpos[task.fingers_site].copy()
  far = np.array([0.3, -0.3, jaco.HALF])

  def reward(target, base=far):
    for name, position in (('target', target), ('base', base)):
      task.blocks[name].set_pose(physics, position, (1, 0, 0, 0))
    mujoco.mj_forward(physics.model.ptr, data)
    return task.get_reward(physics)

  on_far = lambda *shift: far + [0, 0, 0.04] + np.array(shift)
  assert reward(far * [-1, 1, 1]) == 0
  assert reward(on_far(0, 0, 0)) == jaco.STACKED
  assert reward(on_far(0.015, 0, 0.004)) == jaco.STACKED
  assert reward(on_far(0.025, 0, 0)) == reward(on_far(0, 0, 0.01)) == jaco.LIFTED
  # A block in the fingers is lifted, also exactly above another one.
  task.hand.set_grasp(physics, 0.8)
  assert reward(fingers) == jaco.LIFTED
  assert task._touched(data)
  assert reward(fingers, base=fingers - [0, 0, 0.04]) == jaco.LIFTED
  # On the table with the hand near: the whole arm is moved by moving its base.
  shift = np.array([0, 0, fingers[2] - jaco.HALF])
  arm = physics.bind(task.arm.mjcf_model.worldbody.find_all('body', immediate_children_only=True))
  before = arm.pos.copy()
  arm.pos = before - shift
  assert reward(fingers - shift + [0, 0.04, 0]) == jaco.REACHED
  assert reward(fingers - shift + [0, 0.06, 0]) == 0
  arm.pos = before


def test_the_same_as_composer_steps_it(environment):
  task = jaco.Stack()
  plain = composer.Environment(
    task, random_state=4, recompile_mjcf_every_episode=False, strip_singleton_obs_buffer_dim=True
  )
  plain.reset()
  plain.random_state.seed(5)
  expected, timestep = plain.reset(), _reset(environment, 5)
  rng = np.random.default_rng(0)
  for _ in range(10):
    flat = np.concatenate(list(expected.observation.values())).astype(np.float32)
    np.testing.assert_array_equal(timestep.observation, flat)
    action = rng.uniform(-1, 1, 9)
    timestep = environment.step(action)
    expected = plain.step(action * plain.action_spec().maximum)


def test_tracking_is_lost_at_a_centimetre(environment):
  """MetaMimic, appendix C.2: the vector from hand to block differs by more."""
  rules = {'hand_to_block': tracking.Part(weight=0.0, scale=1.0, farthest=0.01)}
  rules['arm_angles'] = tracking.Part(weight=1.0, scale=1.0, farthest=np.inf)
  goal = following.split(environment, _reset(environment, 0).observation)
  far = goal['hand_to_block'] + [0.006, 0, 0.007]
  assert not tracking.lost(rules, 0.5, goal | {'hand_to_block': far}, goal)
  far = goal['hand_to_block'] + [0.006, 0.005, 0.007]
  assert tracking.lost(rules, 0.5, goal | {'hand_to_block': far}, goal)


@pytest.mark.gl
def test_frames_show_both_blocks_and_the_arm():
  environment = environments.make_environment('jaco/stack', 1, frame_size=128)
  frame = _reset(environment, 0).observation
  assert frame.shape == (128, 128, 3) and frame.dtype == np.uint8
  red, green, blue = np.moveaxis(frame.astype(int), -1, 0)
  assert ((red > 90) & (green + blue < red)).sum() > 20
  assert ((blue > 90) & (green + red < blue)).sum() > 20
  state, fields = environment.save()
  moved = [environment.step(np.eye(9)[0]).observation for _ in range(10)][-1]
  assert (np.abs(moved.astype(int) - frame).max(-1) > 30).sum() > 100
  environment.restore(state, fields)
  np.testing.assert_array_equal(environment.observe(), frame)
  features = environments.make_environment('jaco/stack', 1)
  features.restore(state, fields)
  np.testing.assert_array_equal(features.observe(), environment.features())
