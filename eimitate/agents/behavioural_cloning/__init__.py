"""Behavioural cloning: the demonstrations' actions by maximum likelihood, nothing else."""

from eimitate.agents.behavioural_cloning.config import Config
from eimitate.agents.behavioural_cloning.learner import LearnerState
from eimitate.agents.behavioural_cloning.learner import make_agent

__all__ = ['Config', 'LearnerState', 'make_agent']
