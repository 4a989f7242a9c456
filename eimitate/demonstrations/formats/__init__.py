"""Demonstrations of other libraries, from and to their files."""

from collections.abc import Callable, Mapping

from eimitate import errors
from eimitate.demonstrations.formats import d4rl
from eimitate.demonstrations.formats import minari
from eimitate.demonstrations.formats import pickles
from eimitate.demonstrations.formats import robomimic
from eimitate.demonstrations.formats import steps

READERS: Mapping[str, Callable[..., steps.Found]] = {
  'minari': minari.read,
  'd4rl': d4rl.read,
  'robomimic': robomimic.read,
  'pickle': pickles.read,
}


def read(name: str, path: str, observation_keys: tuple[str, ...] = ()) -> steps.Found:
  """All episodes of a file, in its own units, and a few words on what is not among them.

  Actions may lie outside [-1, 1].

  Args:
    name: one of `READERS`.
    path: the file, or for Minari the dataset's directory.
    observation_keys: parts of an observation, in the order in which they are joined; empty where
      there is one.

  Raises:
    InputError: if the file is damaged, of another schema, asks for too much memory or holds no
      episode, or if its episodes do not agree in their sizes.
  """
  errors.check(name in READERS, 'format', repr(name), ' or '.join(READERS))
  trajectories, words = READERS[name](path, observation_keys)
  errors.check(len(trajectories) > 0, name, f'{path} without an episode', 'at least one')
  for field in ('observations', 'actions'):
    sizes = sorted({getattr(trajectory, field).shape[1] for trajectory in trajectories})
    errors.check(len(sizes) == 1, f'{name} {field}', f'sizes {sizes}', 'one for all episodes')
  return trajectories, words
