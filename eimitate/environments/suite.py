"""Tasks of the dm_control suite, observed as state or as frames."""

from collections.abc import Mapping
import math
import os

# Left unset, MuJoCo reaches for a display on import; observations of state need none, and who
# wants frames calls `gl.prepare` first.
os.environ.setdefault('MUJOCO_GL', 'disabled')

# pylint: disable=wrong-import-position
from dm_control import suite
from dm_env import specs
import mujoco
import numpy as np

from eimitate import errors
from eimitate.environments.canonical import Canonical
from eimitate.environments.rendering import Renderer


# The model's fields that some task draws anew in every episode.
MODEL_FIELDS = ('body_pos', 'body_quat', 'geom_pos', 'site_pos')


class SuiteEnvironment(Canonical):
  """A suite task with exact save and restore."""

  def __init__(self, task: str, action_repeat: int, seed: int = 0):
    """Loads `domain/task`.

    Raises:
      InputError: if the suite has no such task.
    """
    known = [f'{domain}/{name}' for domain, name in suite.ALL_TASKS]
    errors.check(task in known, 'task', repr(task), f'one of {", ".join(known)}')
    domain, name = task.split('/')
    self._suite = suite.load(domain, name, task_kwargs={'random': seed})
    super().__init__(self._suite, action_repeat)
    self._renderers = {}

  @property
  def control_timestep(self) -> float:
    """Seconds of simulated time per action, the repeat included."""
    return self._suite.control_timestep() * self.action_repeat

  @property
  def longest_episode(self) -> int:
    """Most actions in an episode, by the task's time limit; 0 where it has none."""
    limit = self._suite._step_limit  # pylint: disable=protected-access
    return math.ceil(limit / self.action_repeat) if math.isfinite(limit) else 0

  def seed(self, seed: int) -> None:
    """Makes the next reset, and what follows, a function of `seed` alone."""
    self._suite.task.random.seed(seed)

  def save(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """MuJoCo's integration state `[S]` float64 and the model's per-episode fields."""
    model, data = self._suite.physics.model.ptr, self._suite.physics.data.ptr
    state = np.empty(self.state_size)
    mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    return state, {name: getattr(model, name).copy() for name in MODEL_FIELDS}

  def restore(self, state: np.ndarray, model_fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """Puts the simulator exactly where `save` was called; returns what is observed.

    Raises:
      InputError: if state or fields do not belong to this model.
    """
    model, data = self._suite.physics.model.ptr, self._suite.physics.data.ptr
    size = self.state_size
    errors.check(state.shape == (size,), 'state', f'shape {state.shape}', f'({size},)')
    for name, value in model_fields.items():
      errors.check(name in MODEL_FIELDS, 'model field', repr(name), ' or '.join(MODEL_FIELDS))
      field = getattr(model, name)
      errors.check(value.shape == field.shape, name, f'shape {value.shape}', field.shape)
    self._suite.reset()
    for name, value in model_fields.items():
      getattr(model, name)[:] = value
    mujoco.mj_setState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    # Without this the derived quantities are those of the state before: errors of 5e-3 and more.
    mujoco.mj_step1(model, data)
    return self.observe()

  def observe(self) -> np.ndarray:
    """What is observed of the current state."""
    observation = self._suite.task.get_observation(self._suite.physics)
    return np.concatenate([np.ravel(x) for x in observation.values()]).astype(np.float32)

  def render(self, height: int, width: int) -> np.ndarray:
    """What the first camera sees of the current state, `[height, width, 3]` uint8.

    `gl.prepare` must have been called before this module was imported.
    """
    size = (height, width)
    physics = self._suite.physics
    if size not in self._renderers:
      self._renderers[size] = Renderer(physics.model.ptr, height, width)
    return self._renderers[size].render(physics.data.ptr)

  def perturb(self, state: np.ndarray, rng: np.random.Generator, spread: float) -> np.ndarray:
    """`state` `[S]` with uniform noise in [-spread, spread] on all positions and velocities."""
    model = self._suite.physics.model.ptr
    time, positions, velocities = (
      mujoco.mj_stateSize(model, getattr(mujoco.mjtState, f'mjSTATE_{name}'))
      for name in ('TIME', 'QPOS', 'QVEL')
    )
    noise = np.zeros_like(state)
    moving = slice(time, time + positions + velocities)
    noise[moving] = rng.uniform(-spread, spread, positions + velocities)
    return state + noise

  @property
  def state_size(self) -> int:
    """`S`, the length of MuJoCo's integration state."""
    return mujoco.mj_stateSize(self._suite.physics.model.ptr, mujoco.mjtState.mjSTATE_INTEGRATION)


class FramesEnvironment(SuiteEnvironment):
  """A suite task observed as frames of its first camera; `gl.prepare` must have been called."""

  def __init__(self, task: str, action_repeat: int, size: int, seed: int = 0):
    """Loads `domain/task`; frames are `[size, size, 3]` uint8.

    Raises:
      InputError: if the suite has no such task.
    """
    self._size = size
    super().__init__(task, action_repeat, seed)

  def observation_spec(self) -> specs.Array:
    """`[size, size, 3]` uint8."""
    return specs.Array((self._size, self._size, 3), np.uint8, 'frame')

  def observe(self) -> np.ndarray:
    """The frame of the current state."""
    return self.render(self._size, self._size)

  def _flatten(self, timestep):
    return timestep._replace(observation=self.observe())
