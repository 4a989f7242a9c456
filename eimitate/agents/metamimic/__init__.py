"""MetaMimic: one-shot imitation of demonstrations without actions, and the task from the same."""

from eimitate.agents.metamimic.config import Config
from eimitate.agents.metamimic.learner import make_agent

__all__ = ['Config', 'make_agent']
