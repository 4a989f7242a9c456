"""Tasks of the dm_control suite."""

import math

from eimitate.environments.simulated import Simulated  # First: it chooses MuJoCo's renderer.

# pylint: disable=wrong-import-order
from dm_control import suite
import numpy as np

from eimitate import errors
from eimitate.environments import tasks

# All of them, `domain/task`.
TASKS = tuple(f'{domain}/{name}' for domain, name in suite.ALL_TASKS)

# What some tasks draw anew in every episode beside `simulated.MODEL_FIELDS`: how controls move the
# joints, the ground (160 kB, which other quadrupeds have too but never change), the target's light.
_MORE_FIELDS = {
  'point_mass/hard': ('wrap_prm',),
  'quadruped/escape': ('hfield_data',),
  'swimmer/swimmer6': ('light_pos',),
  'swimmer/swimmer15': ('light_pos',),
}


class SuiteEnvironment(Simulated):
  """A suite task with exact save and restore."""

  def __init__(self, task: str, action_repeat: int, frame_size: int = 0, seed: int = 0):
    """Loads `domain/task`; see `Simulated`.

    Raises:
      InputError: if the suite has no such task.
    """
    errors.check(task in TASKS, 'task', repr(task), f'one of {tasks.JACO}, {", ".join(TASKS)}')
    domain, name = task.split('/')
    environment = suite.load(domain, name, task_kwargs={'random': seed})
    # quadruped/escape would open dm_control's own renderer, with OpenGL, whatever is observed.
    environment.physics._make_rendering_contexts = lambda: None  # pylint: disable=protected-access
    fields = _MORE_FIELDS.get(task, ())
    super().__init__(environment, action_repeat, frame_size, more_fields=fields)
    self._begun = False

  @property
  def longest_episode(self) -> int:
    """Most actions in an episode, by the task's time limit; 0 where it has none."""
    limit = self._environment._step_limit  # pylint: disable=protected-access
    return math.ceil(limit / self.action_repeat) if math.isfinite(limit) else 0

  def seed(self, seed: int) -> None:
    """Makes the next reset, and what follows, a function of `seed` alone."""
    self._environment.task.random.seed(seed)

  def features(self) -> np.ndarray:
    """The task's own observation as one vector `[O]` float32."""
    observation = self._environment.task.get_observation(self._environment.physics)
    return np.concatenate([np.ravel(x) for x in observation.values()]).astype(np.float32)

  def _begin(self):
    if not self._begun:  # What a task keeps besides the simulation, it makes on its first reset.
      self._environment.reset()
      self._begun = True
    # Otherwise no episode of the task's own is drawn, which takes three times as long as the rest.
    environment = self._environment
    environment._step_count, environment._reset_next_step = 0, False  # pylint: disable=protected-access
