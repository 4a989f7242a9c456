"""D4PG's --config: the agent's fields and the run's, side by side; for experts from reward."""

import dataclasses
from typing import Any

from eimitate import configuration
from eimitate import environments
from eimitate import errors
from eimitate import runs
from eimitate.agents import d4pg

PRESETS = ('state', 'image')

# From frames: one of 128 x 128 at a time, Figure 3's networks and Table 1's learner.
FROM_FRAMES = {
  'frame_size': 128,
  'stack': 1,
  # On a CPU XLA's convolutions are fifty times slower within a loop over updates.
  'updates_per_call': 1,
  # The paper's million frames are 49 GB.
  'replay.episodes': 50,
}


@dataclasses.dataclass(frozen=True)
class Config(d4pg.Config, runs.Config):
  """Flat, so that --config.n_step and --config.agent_steps need no prefix."""


# Of actors that follow demonstrations.
FOLLOWING = {
  # Standard deviations of the exploration noise: with 0.3 hardly an episode lasts three steps.
  'actors.temperatures': (0.2, 0.1, 0.05),
  'actors.fractions': (0.0, 0.1, 0.4),
  # The beginnings, where arms fall and balls swing freely, are harder than the rest.
  'tracking.curriculum': 20,
}
# Of who learns from them. How well a step tracks shows in the next observation: a target of
# five steps would also hold the exploration noise of four more actions.
TRACKING = {
  'reward': 'tracking',
  'n_step': 1,
  'discount': 0.9,
  'highest_value': 10.0,
  'num_atoms': 51,
}


def make_config(
  task: str = '', preset: str = 'state', action_repeat: int = 0, reward: str = 'environment'
) -> Config:
  """The defaults for an expert on a task, from state or from frames, at the task's action repeat.

  Args:
    task: empty for those that do not depend on it.
    preset: `state` or `image`.
    action_repeat: 0 for the task's own.
    reward: what is learnt from; `tracking` needs no scale, and has no expert to reach.

  Raises:
    InputError: on an unknown preset.
  """
  errors.check(preset in PRESETS, '--preset', repr(preset), ' or '.join(PRESETS))
  settings: dict[str, Any] = {
    # Twice as many updates of half the batch, and a shorter return: finger spin climbs in 16,000
    # agent steps where it took 44,000.
    'batch_size': 128,
    'learning_rate': 5e-4,
    'n_step': 3,
    'agent_steps': 100_000,
    'updates_per_agent_step': 2.0,
    'num_demonstrations': 0,
    'replay.episodes': 2000,
    # Standard deviations of the exploration noise.
    'actors.temperatures': (0.3, 0.2, 0.1),
    'actors.fractions': (0.0, 0.15, 0.4),
    'evaluation.interval': 2000,
    'evaluation.episodes': 20,
    'checkpoints.interval': 2000,
  }
  if preset == 'image':
    settings |= FROM_FRAMES | {'batch_size': 64, 'learning_rate': 1e-4, 'n_step': 5}
  if reward == 'tracking':
    settings |= TRACKING | FOLLOWING
  elif task:
    # The mean reward of an environment step: at most 1, so that returns fit the critic's support.
    size = settings.get('frame_size', 0)
    repeat = environments.resolve_action_repeat(task, action_repeat, frame_size=size)
    settings['reward_scale'] = 1 / repeat
    settings['target_return'] = environments.expert_return(task, size)
  return configuration.override(Config(), settings)
