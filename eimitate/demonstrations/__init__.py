"""Recorded episodes: their schema, loading, checks and exact replay."""

from eimitate.demonstrations.dataset import Dataset
from eimitate.demonstrations.dataset import Metadata
from eimitate.demonstrations.dataset import load
from eimitate.demonstrations.dataset import save
from eimitate.demonstrations.dataset import shipped_path

__all__ = ['Dataset', 'Metadata', 'load', 'save', 'shipped_path']
