"""The paper's tasks (appendix B, Tables 3 and 4)."""

from collections.abc import Mapping
from typing import NamedTuple


class Task(NamedTuple):
  """action_repeat: environment steps per action; expert_return: the paper's expert."""

  action_repeat: int
  expert_return: float


# From state.
TASKS: Mapping[str, Task] = {
  'cartpole/swingup': Task(8, 881.3),
  'ball_in_cup/catch': Task(4, 920.1),
  'reacher/easy': Task(4, 911.4),
  'finger/spin': Task(4, 574.2),
  'walker/walk': Task(4, 865.6),
  'cheetah/run': Task(4, 607.3),
  'hopper/hop': Task(4, 300.0),
  'humanoid/walk': Task(2, 782.8),
}

# What differs from frames.
_FROM_FRAMES: Mapping[str, Task] = {'walker/walk': Task(2, 873.5)}

# Two-block stacking, MetaMimic's.
JACO = 'jaco/stack'


def find(task: str, frames: bool) -> Task | None:
  """The paper's settings of `domain/task`, if it has that task."""
  return _FROM_FRAMES.get(task, TASKS.get(task)) if frames else TASKS.get(task)
