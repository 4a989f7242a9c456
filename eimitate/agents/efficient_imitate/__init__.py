"""EfficientImitate: adversarial imitation and behaviour cloning united in a sampled tree search."""

from eimitate.agents.efficient_imitate.config import Config
from eimitate.agents.efficient_imitate.config import paper
from eimitate.agents.efficient_imitate.config import released
from eimitate.agents.efficient_imitate.config import tuned
from eimitate.agents.efficient_imitate.learner import make_agent
from eimitate.agents.efficient_imitate.networks import Networks
from eimitate.agents.efficient_imitate.networks import make_networks

__all__ = [
  'Config',
  'Networks',
  'make_agent',
  'make_networks',
  'paper',
  'released',
  'tuned',
]
