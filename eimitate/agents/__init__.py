"""Each agent is a `types.Agent` of pure functions: `agents.NAME.make_agent(config, spec)`."""

from eimitate.agents import d4pg
from eimitate.agents import efficient_imitate

__all__ = ['d4pg', 'efficient_imitate']
