"""MetaMimic's --config: the agent's fields and the run's, side by side."""

import dataclasses
from typing import Any

from eimitate import configuration
from eimitate import environments
from eimitate import errors
from eimitate import runs
from eimitate.agents import metamimic
from experiments.configs import d4pg

PRESETS = d4pg.PRESETS


@dataclasses.dataclass(frozen=True)
class Config(metamimic.Config, runs.Config):
  """Flat, so that --config.imitation.n_step and --config.agent_steps need no prefix."""


# From frames: Table 1's learners, and few actors, as each draws.
_FROM_FRAMES = d4pg.FROM_FRAMES | {
  'imitation.n_step': 5,
  'imitation.discount': 0.99,
  'imitation.highest_value': 100.0,
  'imitation.num_atoms': 101,
  'imitation.batch_size': 64,
  'task.n_step': 5,
  'task.batch_size': 64,
  'actors.num': 4,
  'tracking.task_actors': 2,
}


_BODY = ('arm_angles', 'arm_velocities', 'finger_angles', 'finger_velocities')


def make_config(task: str = '', preset: str = 'state', action_repeat: int = 0) -> Config:
  """The defaults for a task: from features a small benchmark's, on one core; or from frames.

  Raises:
    InputError: on an unknown preset.
  """
  errors.check(preset in PRESETS, '--preset', repr(preset), ' or '.join(PRESETS))
  settings: dict[str, Any] = {
    **{f'imitation.{name}': value for name, value in d4pg.TRACKING.items()},
    'imitation.batch_size': 128,
    'task.n_step': 3,
    'task.batch_size': 32,
    'agent_steps': 60_000,
    'updates_per_agent_step': 0.7,
    'num_demonstrations': 0,  # All but some to evaluate with.
    'replay.episodes': 200,
    'actors.num': 65,
    'tracking.task_actors': 1,
    **d4pg.FOLLOWING,
    'evaluation.interval': 10_000,
    'evaluation.episodes': 3,
    'checkpoints.interval': 10_000,
  }
  if preset == 'image':
    settings |= _FROM_FRAMES
  else:
    small = {'learning_rate': 5e-4, 'policy': (128, 128), 'critic': (128, 128)}
    for learner in ('imitation', 'task'):
      settings |= {f'{learner}.{name}': value for name, value in small.items()}
  if task == 'jaco/stack':
    settings['tracking.farthest'] = 'hand_to_block=0.01'  # Appendix C.2.
    # The demonstrators' own actions, with normal noise added: of 0.2 they are followed for two
    # steps, of 0.1 for six, of 0.05 for forty.
    settings['actors.temperatures'] = (0.05, 0.03, 0.02)
    # Episodes begin anywhere but at the very end: appendix C.2 says within 300 steps.
    settings['tracking.curriculum'] = 250
    # Table 1 weighs the image by 15 and the body by 2: joints, not blocks.
    weights = dict.fromkeys(_BODY, 2 / len(_BODY)) | ({'image': 15} if preset == 'image' else {})
    settings['tracking.parts'] = ','.join(f'{name}={weight:g}' for name, weight in weights.items())
  if task:
    # The mean reward of an environment step: at most 1, so that returns fit the critic's support.
    size = settings.get('frame_size', 0)
    repeat = environments.resolve_action_repeat(task, action_repeat, frame_size=size)
    settings['task.reward_scale'] = 1 / repeat
  return configuration.override(Config(), settings)
