"""The action that leads nearest to where a demonstration goes, found with the simulator itself."""

from collections.abc import Mapping

from eimitate.environments.simulated import Simulated  # First: it chooses MuJoCo's renderer.

# pylint: disable=wrong-import-order
from dm_control.rl import control
import numpy as np

from eimitate.rewards import tracking

_DIFFERENCE = 0.1  # Of actions, whose range is 2: across small contacts rather than within them.
_ITERATIONS = 4
_DIVERGED = 1e6
_SHARES = (1.0, 0.5, 0.25)  # Of a step, until one leads nearer.


def nearest_action(
  environment: Simulated,
  saved: tuple[np.ndarray, Mapping[str, np.ndarray]],
  goal: np.ndarray,
  parts: Mapping[str, tracking.Part],
) -> np.ndarray:
  """One step of inverse dynamics: Gauss and Newton's method on finite differences of one step.

  Args:
    environment: to try actions in, as features; where it stands afterwards means nothing.
    saved: what `save` returned of the environment that the action is for.
    goal: features `[F]` to be at one step later.
    parts: how the tracking reward weighs distances.

  Returns:
    `[A]` in [-1, 1], the best of those tried. Where a string tightens or two bodies touch within
    the step there are several valleys, and it may end in the wrong one.
  """
  size = environment.action_spec().shape[0]
  weights = np.zeros(len(goal))
  for name, part in parts.items():
    if name in environment.parts:
      weights[environment.parts[name]] = np.sqrt(part.weight / part.scale)

  def distance(action):
    environment.restore(*saved)
    try:
      seen = environment.step(action).observation
    except control.PhysicsError:
      seen = np.full(len(goal), np.nan)
    return np.where(np.isfinite(seen), weights * (seen - goal), _DIVERGED)

  far = lambda off: np.square(off).sum()
  best = np.zeros(size)
  off = distance(best)
  for _ in range(_ITERATIONS):
    # Inwards, where an action at the end of its range has no outside.
    moves = np.where(best > 0, -_DIFFERENCE, _DIFFERENCE)
    columns = [(distance(best + row) - off) / move for row, move in zip(np.diag(moves), moves)]
    change = np.linalg.lstsq(np.stack(columns, 1), -off, rcond=1e-6)[0]
    for share in _SHARES:
      action = np.clip(best + share * change, -1, 1)
      new = distance(action)
      if far(new) < far(off):
        best, off = action, new
        break
    else:
      break
  return best
