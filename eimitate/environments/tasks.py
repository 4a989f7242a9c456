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


# What mujoco_playground calls the suite's tasks.
COUNTERPARTS: Mapping[str, str] = {
  f'playground/{name}': task
  for name, task in {
    'AcrobotSwingup': 'acrobot/swingup',
    'AcrobotSwingupSparse': 'acrobot/swingup_sparse',
    'BallInCup': 'ball_in_cup/catch',
    'CartpoleBalance': 'cartpole/balance',
    'CartpoleBalanceSparse': 'cartpole/balance_sparse',
    'CartpoleSwingup': 'cartpole/swingup',
    'CartpoleSwingupSparse': 'cartpole/swingup_sparse',
    'CheetahRun': 'cheetah/run',
    'FingerSpin': 'finger/spin',
    'FingerTurnEasy': 'finger/turn_easy',
    'FingerTurnHard': 'finger/turn_hard',
    'FishSwim': 'fish/swim',
    'HopperHop': 'hopper/hop',
    'HopperStand': 'hopper/stand',
    'HumanoidRun': 'humanoid/run',
    'HumanoidStand': 'humanoid/stand',
    'HumanoidWalk': 'humanoid/walk',
    'PendulumSwingup': 'pendulum/swingup',
    'PointMass': 'point_mass/easy',
    'ReacherEasy': 'reacher/easy',
    'ReacherHard': 'reacher/hard',
    'SwimmerSwimmer6': 'swimmer/swimmer6',
    'WalkerRun': 'walker/run',
    'WalkerStand': 'walker/stand',
    'WalkerWalk': 'walker/walk',
  }.items()
}


def counterpart(task: str) -> str:
  """The suite's task that `task` is, in another simulator or itself."""
  return COUNTERPARTS.get(task, task)


def find(task: str, frames: bool) -> Task | None:
  """The paper's settings of `domain/task`, if it has that task."""
  task = counterpart(task)
  return _FROM_FRAMES.get(task, TASKS.get(task)) if frames else TASKS.get(task)
