"""Each agent is a `types.Agent` of pure functions: `agents.NAME.make_agent(config, spec)`."""

from eimitate.agents import behavioural_cloning
from eimitate.agents import d4pg
from eimitate.agents import efficient_imitate
from eimitate.agents import metamimic

__all__ = ['behavioural_cloning', 'd4pg', 'efficient_imitate', 'metamimic']
