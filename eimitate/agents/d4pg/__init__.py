"""D4PG: distributional deep deterministic policy gradients, from a recorded reward."""

from eimitate.agents.d4pg.config import IMPALA
from eimitate.agents.d4pg.config import Config
from eimitate.agents.d4pg.config import TowerConfig
from eimitate.agents.d4pg.learner import make_agent
from eimitate.agents.d4pg.networks import Networks
from eimitate.agents.d4pg.networks import make_networks

__all__ = [
  'IMPALA',
  'Config',
  'Networks',
  'TowerConfig',
  'make_agent',
  'make_networks',
]
