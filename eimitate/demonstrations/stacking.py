"""A scripted Jaco arm that stacks the blocks, in two styles that differ as two people's would.

It sees the simulator's state, which agents do not, and acts through the task's nine velocities like
them: the fingers move by resolved rates, damped least squares on the arm's Jacobian.
"""

from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

import mujoco
import numpy as np

from eimitate import errors
from eimitate.environments import jaco

# A range, or what is drawn from it.
Value = TypeVar('Value')

# Where the fingers meet, in the hand's frame, which points along its -z; they close along its y.
_GRASP = np.array([0.0, 0.0025, -0.198])
_POSITION_GAIN, _ROTATION_GAIN, _DAMPING = 5.0, 4.0, 0.02
_FASTEST_ROTATION = 1.6
_GAIN = 500.0  # Of the arm's velocity actuators, Nm s/rad.
_FASTEST_FINGERS = 5.0
_CLOSING = 2.0
_UP = np.array([0.0, 0.0, 1.0])
_ATTEMPTS = 3


class Style(NamedTuple, Generic[Value]):
  """How one demonstrator works; a range's value is drawn anew in every episode.

  approach: height in metres from which the fingers go down.
  speed, slow_speed: m/s, on the way and where blocks are near.
  lift: height to which the block is lifted.
  pause: actions that nothing is done for, before closing and before opening the fingers.
  detour: metres that each way makes sideways for no need.
  grip: height of the fingers over the block's centre.
  opening: of the fingers, in radians.
  grasp: which of the block's four sides the thumb goes to, in order of how far the hand must turn.
  """

  approach: Value
  speed: Value
  slow_speed: Value
  lift: Value
  pause: Value
  detour: Value
  grip: Value
  opening: Value
  grasp: int


_DIRECT = Style(
  approach=(0.09, 0.13),
  speed=(0.28, 0.38),
  slow_speed=(0.13, 0.18),
  lift=(0.11, 0.15),
  pause=(0, 2),
  detour=(0.0, 0.0),
  grip=(-0.003, 0.003),
  opening=(0.55, 0.7),
  grasp=0,
)
_ROUNDABOUT = Style(
  approach=(0.16, 0.22),
  speed=(0.18, 0.25),
  slow_speed=(0.1, 0.13),
  lift=(0.18, 0.24),
  pause=(4, 12),
  detour=(0.05, 0.1),
  grip=(0.003, 0.008),
  opening=(0.4, 0.5),
  grasp=1,
)


STYLES = {'direct': _DIRECT, 'roundabout': _ROUNDABOUT}


def begin(
  style: str, environment: jaco.JacoEnvironment, rng: np.random.Generator
) -> Callable[[np.ndarray], np.ndarray]:
  """What acts in one episode, from the environment's current state on.

  Args:
    style: a name in `STYLES`.
    environment: the arm's; the script looks at its simulator.
    rng: what differs between episodes is drawn from it.

  Returns:
    `observations [1, O] -> actions [1, 9]`.

  Raises:
    InputError: if the environment is another one.
  """
  is_jaco = isinstance(environment, jaco.JacoEnvironment)
  errors.check(is_jaco, f'demonstrator {style}', 'another task', 'jaco/stack')
  repeat, expected = environment.action_repeat, '1: the script looks after every step'
  errors.check(repeat == 1, 'action repeat', repeat, expected)
  ranges = STYLES[style]
  values = {name: rng.uniform(*ranges._asdict()[name]) for name in Style._fields[:-1]}
  drawn = Style[float](**values, grasp=ranges.grasp)
  actions = _script(_Arm(environment), drawn, rng)
  return lambda observations: next(actions)[None]


class _Arm:
  """What the script sees, and how it moves."""

  def __init__(self, environment):
    self.task, physics = environment.task, environment.physics
    self._model, self._data = physics.model.ptr, physics.data.ptr
    self._body = physics.bind(self.task.hand.mjcf_model.find('body', 'hand')).element_id
    self._arm, self._fingers = self.task.velocities[:6], self.task.positions[6:]
    self._fastest = self._model.actuator_ctrlrange[:6, 1]
    self._reward = lambda: self.task.get_reward(physics)

  def hand(self) -> tuple[np.ndarray, np.ndarray]:
    """Where the fingers meet, and the hand's rotation."""
    rotation = self._data.xmat[self._body].reshape(3, 3).copy()
    return self._data.xpos[self._body] + rotation @ _GRASP, rotation

  def block(self, name) -> np.ndarray:
    """Its centre."""
    return self._data.geom_xpos[self.task.geoms[name]].copy()

  def sides(self) -> list[np.ndarray]:
    """Horizontal unit vectors out of the target block's four sides."""
    axes = self._data.geom_xmat[self.task.geoms['target']].reshape(3, 3).T
    sides = sorted(axes, key=lambda axis: abs(axis[2]))[:2]
    return [sign * _level(side) for side in sides for sign in (1, -1)]

  def stacked(self) -> bool:
    """Whether there is nothing left to do."""
    return self._reward() == jaco.STACKED

  def fingers(self, angle: float) -> np.ndarray:
    """Finger velocities towards an angle."""
    return np.clip(8 * (angle - self._data.qpos[self._fingers]), -3, 3)

  def action(self, velocity, rotation, fingers, point=None) -> np.ndarray:
    """The action `[9]` in [-1, 1] for a velocity of a point that moves with the hand.

    Args:
      velocity: m/s, of the point.
      rotation: radians/s, of the hand.
      fingers: radians/s.
      point: where the fingers meet by default.
    """
    point = self.hand()[0] if point is None else point
    jacobian = np.empty((2, 3, self._model.nv))
    mujoco.mj_jac(self._model, self._data, *jacobian, point, self._body)
    jacobian = np.concatenate(jacobian)[:, self._arm]
    wanted = np.concatenate([velocity, _at_most(rotation, _FASTEST_ROTATION)])
    damped = jacobian @ jacobian.T + _DAMPING**2 * np.eye(6)
    speeds = jacobian.T @ np.linalg.solve(damped, wanted)
    speeds *= min(1.0, np.min(self._fastest / (np.abs(speeds) + 1e-9)))  # Keeps the direction.
    # The actuators give way to gravity unless they are told to go a little faster.
    speeds += self._data.qfrc_bias[self._arm] / _GAIN
    fingers = np.broadcast_to(fingers, 3) / _FASTEST_FINGERS
    return np.clip(np.concatenate([speeds / self._fastest, fingers]), -1, 1)

  def move(
    self,
    error: Callable[[], np.ndarray],
    rotation: np.ndarray,
    fingers: Callable[[], np.ndarray | float],
    speed: float,
    tolerance: float = 0.0,
    turn_tolerance: float = np.inf,
    most: int = 1 << 30,
    carried: bool = False,
  ) -> Iterator[np.ndarray]:
    """Actions until the fingers, or the block that is `carried`, are where they should be.

    Args:
      error: metres that are left to go.
      rotation: of the hand.
      fingers: their velocities.
      speed: m/s at most.
      tolerance, turn_tolerance: metres and radians that may be left.
      most: actions.
      carried: whether the target block, which the hand holds, is to be moved.
    """
    for _ in range(most):
      left, turn = error(), _rotation_vector(rotation @ self.hand()[1].T)
      if np.linalg.norm(left) < tolerance and np.linalg.norm(turn) < turn_tolerance:
        return
      point = self.block('target') if carried else None
      velocity = _at_most(_POSITION_GAIN * left, speed)
      yield self.action(velocity, _ROTATION_GAIN * turn, fingers(), point)


def _script(arm: _Arm, style: Style[float], rng: np.random.Generator) -> Iterator[np.ndarray]:
  """All of an episode's actions, and more."""
  opened = lambda: arm.fingers(style.opening)
  for attempt in range(_ATTEMPTS):
    grasp = _choose_grasp(arm, style.grasp + attempt)
    yield from _pick(arm, style, rng, grasp, opened)
    if arm.block('target')[2] > jaco.HALF + 0.5 * (style.lift - jaco.HALF):
      yield from _place(arm, style, rng, opened)
    if arm.stacked():
      break
  position, rotation = arm.hand()
  yield from arm.move(lambda: position - arm.hand()[0], rotation, opened, style.slow_speed)


def _pick(arm, style, rng, rotation, opened):
  """Takes the target block and lifts it."""
  start, _ = arm.hand()
  block = arm.block('target')
  to = lambda place: lambda: place - arm.hand()[0]
  over = np.array([*block[:2], style.approach])
  if start[2] < style.approach - 0.03:
    up = np.array([*start[:2], style.approach])
    yield from arm.move(to(up), rotation, opened, style.speed, 0.02, most=30)
  if style.detour:
    way = _detour(start, over, style.detour, rng)
    yield from arm.move(to(way), rotation, opened, style.speed, 0.02, most=50)
  yield from arm.move(to(over), rotation, opened, style.speed, 0.008, 0.06, most=80)
  grip = block + [0, 0, style.grip]
  yield from arm.move(to(grip), rotation, opened, style.slow_speed, 0.003, most=70)
  yield from arm.move(to(grip), rotation, opened, style.slow_speed, most=round(style.pause))
  closing = lambda: _CLOSING
  yield from arm.move(to(grip), rotation, closing, style.slow_speed, most=14)
  lifted = np.array([*block[:2], style.lift])
  yield from arm.move(to(lifted), rotation, closing, style.speed, 0.01, most=50)


def _place(arm, style, rng, opened):
  """Puts the block that is held on the other one and lets go."""
  rotation, closing = _upright(arm.hand()[1]), lambda: _CLOSING
  above = lambda height: (
    lambda: arm.block('base') + [0, 0, 2 * jaco.HALF + height] - arm.block('target')
  )
  carry = lambda error, speed, tolerance, most: arm.move(
    error, rotation, closing, speed, tolerance, most=most, carried=True
  )
  if style.detour:
    start = arm.block('target')
    way = _detour(start, arm.block('base') + [0, 0, style.lift], style.detour, rng)
    yield from carry(lambda: way - arm.block('target'), style.speed, 0.02, 50)
  yield from carry(above(style.lift - 2 * jaco.HALF), style.speed, 0.02, 80)
  yield from carry(above(0.02), style.slow_speed, 0.005, 60)
  yield from carry(above(0.0005), 0.05, 0.002, 40)
  yield from carry(above(0.0), 0.05, 0.0, round(style.pause))
  place, _ = arm.hand()
  still = lambda: place - arm.hand()[0]
  yield from arm.move(still, rotation, opened, 0.05, most=10)
  up = place + [0, 0, 0.08]
  yield from arm.move(lambda: up - arm.hand()[0], rotation, opened, style.speed, 0.01, most=30)


def _choose_grasp(arm, number):
  """The hand's rotation for the `number`th of the block's sides, the least turn first.

  A grasp whose fingers would come down on the other block is taken last.
  """
  rotation = arm.hand()[1]
  between = arm.block('base') - arm.block('target')
  distance = np.linalg.norm(between)

  def effort(side):
    blocked = distance < 0.12 and abs(side @ between) > 0.8 * distance
    return np.linalg.norm(_rotation_vector(_facing(side) @ rotation.T)) + 10 * blocked

  return _facing(sorted(arm.sides(), key=effort)[number % 4])


def _facing(side):
  """The rotation of a hand that points down with its thumb to `side`."""
  return np.stack([np.cross(side, _UP), side, _UP], 1)


def _upright(rotation):
  return _facing(_level(rotation[:, 1]))


def _level(vector):
  flat = vector * [1, 1, 0]
  return flat / np.linalg.norm(flat)


def _detour(start, end, sideways, rng):
  """A place halfway, and `sideways` metres off the straight way."""
  direction = _level(end - start + 1e-6)
  return (start + end) / 2 + rng.choice([-1, 1]) * sideways * np.cross(_UP, direction)


def _at_most(vector, length):
  return vector * min(1.0, length / (np.linalg.norm(vector) + 1e-9))


def _rotation_vector(matrix):
  quaternion, vector = np.empty(4), np.empty(3)
  mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(matrix).ravel())
  mujoco.mju_quat2Vel(vector, quaternion, 1.0)
  return vector
