"""D4PG's --config: the agent's fields and the run's, side by side; for experts from reward."""

import dataclasses

from eimitate import configuration
from eimitate import environments
from eimitate import runs
from eimitate.agents import d4pg


@dataclasses.dataclass(frozen=True)
class Config(d4pg.Config, runs.Config):
  """Flat, so that --config.n_step and --config.agent_steps need no prefix."""


def make_config(task: str = '') -> Config:
  """The defaults for an expert on a task."""
  settings = {
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
  if task:
    # The mean reward of an environment step: at most 1, so that returns fit the critic's support.
    settings['reward_scale'] = 1 / environments.resolve_action_repeat(task, 0)
    settings['target_return'] = environments.expert_return(task)
  return configuration.override(Config(), settings)
