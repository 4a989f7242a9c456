"""Behavioural cloning's --config: the agent's fields and the run's, side by side."""

import dataclasses

from eimitate import configuration
from eimitate import runs
from eimitate.agents import behavioural_cloning


@dataclasses.dataclass(frozen=True)
class Config(behavioural_cloning.Config, runs.Config):
  """Flat, so that --config.policy and --config.agent_steps need no prefix."""


def make_config() -> Config:
  """The defaults. Collected episodes only show how the policy does: nothing is learnt from them."""
  return configuration.override(Config(), {'replay.episodes': 10})
