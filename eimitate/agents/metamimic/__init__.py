"""MetaMimic: one-shot imitation of demonstrations without actions, and the task from the same."""

from eimitate.agents.metamimic.config import Config
from eimitate.agents.metamimic.learner import make_agent

# Whether its update learns from demonstrations; what it needs of them is how to follow them.
NEEDS_DEMONSTRATIONS = True

__all__ = ['NEEDS_DEMONSTRATIONS', 'Config', 'make_agent']
