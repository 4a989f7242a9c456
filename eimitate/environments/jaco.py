"""Two-block stacking with a Jaco arm (MetaMimic, section 3.1): a composer task at 20 Hz.

The nine actions are joint velocities, six of the arm and three of the fingers. The target block is
to be lifted and put on the base block. What is observed and rewarded is a function of the
simulator's state alone, so that a restored state goes on exactly.
"""

import collections

from eimitate.environments.simulated import Simulated  # First: it chooses MuJoCo's renderer.

# pylint: disable=wrong-import-order
from dm_control import composer
from dm_control.composer import initializers
from dm_control.composer import observation
from dm_control.composer.observation import observable
from dm_control.composer.variation import distributions
from dm_control.entities.manipulators import kinova
from dm_control.entities.props import primitive
from dm_control.manipulation.shared import arenas
from dm_control.manipulation.shared import robots
import mujoco
import numpy as np

# Seconds per action, and actions in an episode.
CONTROL_TIMESTEP, LONGEST = 0.05, 300
# Half the edge of a block, in metres.
HALF = 0.02
# Rewards of an action after which the hand is near the target block, has lifted it, has stacked it.
REACHED, LIFTED, STACKED = 0.25, 0.5, 1.0
_NEAR = 0.05  # Between the fingers and the target block's centre.
_LIFT = 0.03  # Of the target block over the table.
_MISALIGNED, _APART = 0.02, 0.006  # Horizontally and vertically, of a block on another.
_BLOCKS_AREA, _BLOCKS_APART = 0.1, 0.08
_HAND_LOW, _HAND_HIGH = (-0.1, -0.1, 0.15), (0.1, 0.1, 0.3)
_COLOURS = {'target': (0.9, 0.1, 0.1, 1), 'base': (0.1, 0.2, 0.9, 1)}
_CAMERA = 'front'


class Stack(composer.Task):
  """The task.

  arm, hand: of Kinova. blocks: `target` and `base`, boxes.
  """

  def __init__(self):
    self._arena = arenas.Standard()
    self._arena.mjcf_model.worldbody.add(
      'camera', name=_CAMERA, pos=(0, -0.6, 0.55), xyaxes=(1, 0, 0, 0, 0.58, 0.81)
    )
    self.arm, self.hand = kinova.JacoArm(), kinova.JacoHand(use_pinch_site_as_tcp=True)
    self.arm.attach(self.hand)
    self._arena.attach_offset(self.arm, offset=robots.ARM_OFFSET)
    self.blocks = {name: _make_block(name) for name in _COLOURS}
    for block in self.blocks.values():
      self._arena.add_free_entity(block)
    self._place_hand = initializers.ToolCenterPointInitializer(
      self.hand, self.arm, position=distributions.Uniform(_HAND_LOW, _HAND_HIGH)
    )
    self.control_timestep = CONTROL_TIMESTEP
    self._observables = collections.OrderedDict()
    for name, feature in _FEATURES.items():
      read = lambda physics, feature=feature: feature(self, physics.data.ptr)
      self._observables[name] = observable.Generic(read)
      self._observables[name].enabled = True

  @property
  def root_entity(self):
    return self._arena

  @property
  def task_observables(self):
    return self._observables

  def after_compile(self, physics, random_state):
    """Looks up the numbers of everything that features and rewards read."""
    del random_state
    model, number = physics.model.ptr, lambda element: physics.bind(element).element_id
    joints = [*self.arm.joints, *self.hand.joints]
    self.positions = np.array([model.jnt_qposadr[number(joint)] for joint in joints])
    self.velocities = np.array([model.jnt_dofadr[number(joint)] for joint in joints])
    self.fingers_site = number(self.hand.pinch_site)
    geoms = {name: number(block.geom) for name, block in self.blocks.items()}
    self.geoms = geoms
    self.block_velocities = {
      name: slice(start := model.body_dofadr[model.geom_bodyid[geom]], start + 6)
      for name, geom in geoms.items()
    }
    self._camera_id = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, _CAMERA)
    hand = [number(geom) for geom in self.hand.mjcf_model.find_all('geom')]
    self._is_hand = np.isin(np.arange(model.ngeom), hand)

  def initialize_episode(self, physics, random_state):
    """Draws where the blocks lie and how the arm and the fingers stand."""
    draw = lambda: random_state.uniform(-_BLOCKS_AREA, _BLOCKS_AREA, (2, 2))
    places = draw()
    while np.linalg.norm(places[0] - places[1]) < _BLOCKS_APART:
      places = draw()
    for block, place in zip(self.blocks.values(), places):
      half_angle = random_state.uniform(-np.pi, np.pi) / 2
      rotation = (np.cos(half_angle), 0, 0, np.sin(half_angle))
      block.set_pose(physics, (*place, HALF), rotation)
    self.hand.set_grasp(physics, random_state.uniform())
    self._place_hand(physics, random_state)

  def get_reward(self, physics):
    """Of the highest stage that the state is in: it changes only between stages."""
    data = physics.data.ptr
    target, base = (data.geom_xpos[self.geoms[name]] for name in ('target', 'base'))
    beside, above = np.linalg.norm((target - base)[:2]), target[2] - base[2]
    aligned = beside < _MISALIGNED and abs(above - 2 * HALF) < _APART
    if aligned and not self._touched(data):
      return STACKED
    if target[2] > HALF + _LIFT:
      return LIFTED
    return REACHED if np.linalg.norm(_hand_to_block(self, data)) < _NEAR else 0.0

  def camera(self) -> int:
    """The camera that frames are seen from."""
    return self._camera_id

  def _touched(self, data):
    """Whether the hand touches the target block: a block held in place is not stacked."""
    pairs = data.contact.geom
    of_target = (pairs == self.geoms['target']).any(1)
    return bool(self._is_hand[pairs[of_target]].any())


class _Environment(composer.Environment):
  """All simulation steps of an action in one call, as nothing is to happen between them.

  That is twice as fast, and the same.
  """

  def _recompile_physics_and_update_observables(self):
    super()._recompile_physics_and_update_observables()
    self._n_sub_steps = 1

  def _make_observation_updater(self):
    return observation.Updater(self._task.observables, 1, self._strip_singleton_obs_buffer_dim)

  def _substep(self, action):
    del action
    self._physics.step(self._task.physics_steps_per_control_step)


class JacoEnvironment(Simulated):
  """The task in the library's conventions, with exact save and restore in microseconds."""

  def __init__(self, action_repeat: int = 1, frame_size: int = 0, seed: int = 0):
    """See `Simulated`."""
    self.task = Stack()
    environment = _Environment(
      self.task,
      # Half a step less, so that rounding decides nothing.
      time_limit=(LONGEST - 0.5) * CONTROL_TIMESTEP,
      random_state=seed,
      # The model never changes, and compiling it takes seconds.
      recompile_mjcf_every_episode=False,
      strip_singleton_obs_buffer_dim=True,
      max_reset_attempts=10,
    )
    environment.reset()  # The first one compiles all the same.
    super().__init__(environment, action_repeat, frame_size, self.task.camera())

  @property
  def longest_episode(self) -> int:
    """Most actions in an episode."""
    return -(-LONGEST // self.action_repeat)

  @property
  def physics(self):
    """The simulation, for demonstrators."""
    return self._environment.physics

  def seed(self, seed: int) -> None:
    """Makes the next reset, and what follows, a function of `seed` alone."""
    self._environment.random_state.seed(seed)

  def features(self) -> np.ndarray:
    """All features as one vector `[O]` float32."""
    data = self._data
    parts = [feature(self.task, data) for feature in _FEATURES.values()]
    return np.concatenate(parts).astype(np.float32)

  def _begin(self):
    # The time limit is by the state's own clock; nothing else counts steps.
    self._environment._reset_next_step = False  # pylint: disable=protected-access


def _make_block(name):
  return primitive.Primitive(
    geom_type='box',
    size=(HALF,) * 3,
    name=name,
    mass=0.05,
    rgba=_COLOURS[name],
    friction=(1.0, 0.005, 0.0001),
  )


def _hand_to_block(task, data):
  return data.geom_xpos[task.geoms['target']] - data.site_xpos[task.fingers_site]


def _block_to_block(task, data):
  return data.geom_xpos[task.geoms['base']] - data.geom_xpos[task.geoms['target']]


def _arm_angles(task, data):
  # Sine and cosine, because the arm's joints turn without end.
  angles = data.qpos[task.positions[:6]]
  return np.concatenate([np.sin(angles), np.cos(angles)])


def _block_features(name):
  # Two columns of a rotation matrix say all of it.
  rotation = lambda task, data: data.geom_xmat[task.geoms[name]].reshape(3, 3)[:, :2].ravel()
  return {
    f'{name}_position': lambda task, data: data.geom_xpos[task.geoms[name]],
    f'{name}_rotation': rotation,
    f'{name}_velocity': lambda task, data: data.qvel[task.block_velocities[name]],
  }


# From name to a function of the task and MuJoCo's data: metres, radians and seconds.
_FEATURES = {
  'arm_angles': _arm_angles,
  'arm_velocities': lambda task, data: data.qvel[task.velocities[:6]],
  'finger_angles': lambda task, data: data.qpos[task.positions[6:]],
  'finger_velocities': lambda task, data: data.qvel[task.velocities[6:]],
  'hand_position': lambda task, data: data.site_xpos[task.fingers_site],
  'hand_to_block': _hand_to_block,
  'block_to_block': _block_to_block,
  **_block_features('target'),
  **_block_features('base'),
}
