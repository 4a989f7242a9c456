"""MetaMimic's --config: the agent's fields and the run's, side by side."""

import dataclasses

from eimitate import configuration
from eimitate import environments
from eimitate import runs
from eimitate.agents import metamimic


@dataclasses.dataclass(frozen=True)
class Config(metamimic.Config, runs.Config):
  """Flat, so that --config.imitation.n_step and --config.agent_steps need no prefix."""


def make_config(task: str = '') -> Config:
  """The defaults for a task, from features."""
  settings = {
    'imitation.batch_size': 128,
    'imitation.learning_rate': 5e-4,
    'task.batch_size': 128,
    'task.learning_rate': 5e-4,
    'agent_steps': 200_000,
    'updates_per_agent_step': 0.5,
    'num_demonstrations': 500,
    'replay.episodes': 1000,
    'actors.num': 18,
    # Standard deviations of the exploration noise.
    'actors.temperatures': (0.3, 0.2, 0.1),
    'actors.fractions': (0.0, 0.3, 0.6),
    'tracking.task_actors': 2,
    'tracking.curriculum': 50,
    'evaluation.interval': 10_000,
    'evaluation.episodes': 5,
    'checkpoints.interval': 10_000,
  }
  if task:
    # The mean reward of an environment step: at most 1, so that returns fit the critic's support.
    settings['task.reward_scale'] = 1 / environments.resolve_action_repeat(task, 0)
  return configuration.override(Config(), settings)
