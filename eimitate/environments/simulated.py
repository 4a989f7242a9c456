"""What MuJoCo adds to an environment: exact save and restore, and frames."""

from collections.abc import Mapping
import os

# Left unset, MuJoCo reaches for a display on import; observations of state need none, and who
# wants frames calls `gl.prepare` first. Import this module before anything of dm_control's.
os.environ.setdefault('MUJOCO_GL', 'disabled')

# pylint: disable=wrong-import-position
from dm_env import specs
import mujoco
import numpy as np

from eimitate import errors
from eimitate.environments.canonical import Canonical
from eimitate.environments.rendering import Renderer

# The model's fields that many tasks draw anew in every episode; of all tasks they are saved.
MODEL_FIELDS = ('body_pos', 'body_quat', 'geom_pos', 'site_pos')


class Simulated(Canonical):
  """An environment of dm_control, observed as features or as frames.

  A subclass says how features are computed, how a step counter begins anew, and seeds.
  """

  def __init__(
    self,
    environment,
    action_repeat: int,
    frame_size: int = 0,
    camera: int = 0,
    more_fields: tuple[str, ...] = (),
  ):
    """Wraps `environment`.

    Args:
      environment: of dm_control, with `physics` and `task`.
      action_repeat: environment steps per action.
      frame_size: height and width of the frames to observe, 0 to observe features; `gl.prepare`
        must have been called for frames.
      camera: the model's camera that frames are seen from.
      more_fields: of the model, beside `MODEL_FIELDS`, that the task draws anew in every episode.
    """
    super().__init__(environment, action_repeat)
    self._more_fields = more_fields
    self._frame_size, self._camera = frame_size, camera
    self._renderers = {}

  def features(self) -> np.ndarray:
    """The features `[O]` float32 of the current state, whatever is observed."""
    raise NotImplementedError

  def _begin(self):
    """Lets an episode go on from the current state, whatever state comes to be set next."""
    raise NotImplementedError

  @property
  def control_timestep(self) -> float:
    """Seconds of simulated time per action, the repeat included."""
    return self._environment.control_timestep() * self.action_repeat

  @property
  def state_size(self) -> int:
    """`S`, the length of MuJoCo's integration state."""
    return mujoco.mj_stateSize(self._model, mujoco.mjtState.mjSTATE_INTEGRATION)

  def save(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """MuJoCo's integration state `[S]` float64 and the model's per-episode fields."""
    state = np.empty(self.state_size)
    mujoco.mj_getState(self._model, self._data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    names = (*MODEL_FIELDS, *self._more_fields)
    return state, {name: getattr(self._model, name).copy() for name in names}

  def restore(self, state: np.ndarray, model_fields: Mapping[str, np.ndarray]) -> None:
    """Puts the simulator exactly where `save` was called; `observe` says what is seen there.

    Sensors of forces and accelerations, which MuJoCo computes within a step, show 0 until the next.

    Raises:
      InputError: if state or fields do not belong to this model, or what only this task draws anew
        is not among the fields.
    """
    size = self.state_size
    errors.check(state.shape == (size,), 'state', f'shape {state.shape}', f'({size},)')
    names = (*MODEL_FIELDS, *self._more_fields)
    missing = ', '.join(sorted(set(self._more_fields) - set(model_fields)))
    expected = 'it, as the task draws it anew in every episode'
    errors.check(not missing, 'model fields', f'none called {missing}', expected)
    for name, value in model_fields.items():
      errors.check(name in names, 'model field', repr(name), ' or '.join(names))
      field = getattr(self._model, name)
      errors.check(value.shape == field.shape, name, f'shape {value.shape}', field.shape)
    self._begin()
    for name, value in model_fields.items():
      getattr(self._model, name)[:] = value
    mujoco.mj_resetData(self._model, self._data)
    mujoco.mj_setState(self._model, self._data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    # Without this the derived quantities are those of the state before: errors of 5e-3 and more.
    mujoco.mj_step1(self._model, self._data)

  def observation_spec(self) -> specs.Array:
    """`[O]` float32, or `[size, size, 3]` uint8."""
    if self._frame_size:
      return specs.Array((self._frame_size, self._frame_size, 3), np.uint8, 'frame')
    return super().observation_spec()

  def observe(self) -> np.ndarray:
    """What is observed of the current state."""
    if self._frame_size:
      return self.render(self._frame_size, self._frame_size)
    return self.features()

  def render(self, height: int, width: int) -> np.ndarray:
    """What the camera sees of the current state, `[height, width, 3]` uint8.

    `gl.prepare` must have been called before this module was imported.
    """
    size = (height, width)
    if size not in self._renderers:
      self._renderers[size] = Renderer(self._model, height, width, self._camera)
    return self._renderers[size].render(self._data)

  def perturb(self, state: np.ndarray, rng: np.random.Generator, spread: float) -> np.ndarray:
    """`state` `[S]` with uniform noise in [-spread, spread] on all positions and velocities."""
    time, positions, velocities = (
      mujoco.mj_stateSize(self._model, getattr(mujoco.mjtState, f'mjSTATE_{name}'))
      for name in ('TIME', 'QPOS', 'QVEL')
    )
    noise = np.zeros_like(state)
    moving = slice(time, time + positions + velocities)
    noise[moving] = rng.uniform(-spread, spread, positions + velocities)
    return state + noise

  @property
  def _model(self) -> mujoco.MjModel:
    return self._environment.physics.model.ptr

  @property
  def _data(self) -> mujoco.MjData:
    return self._environment.physics.data.ptr

  def _flatten(self, timestep):
    if self._frame_size:
      return timestep._replace(observation=self.observe())
    return super()._flatten(timestep)
