"""Sampled Monte Carlo tree search over continuous actions, batched and jitted."""

from eimitate.search.base import Config
from eimitate.search.base import Model
from eimitate.search.base import Search
from eimitate.search.factory import make_search

__all__ = ['Config', 'Model', 'Search', 'make_search']
