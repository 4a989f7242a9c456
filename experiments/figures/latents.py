"""t-SNE of latent states of a demonstration and of the agent's own episodes (appendix E, Figure 1).

All are the latest representation's, as in the paper: what changes is where the agent goes. Needs
`pip install scikit-learn`.
"""

from collections.abc import Sequence
import importlib.util
import os
from typing import NamedTuple

import matplotlib
import numpy as np

from eimitate import errors
from experiments.figures import inside as inside_lib
from experiments.figures import style

_FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)  # Of the episodes, as the paper shows them.


class Path(NamedTuple):
  """One episode. points: `[T + 1, 2]`; fraction: of the run so far, None for the expert's."""

  label: str
  points: np.ndarray
  fraction: float | None


def data(inside: inside_lib.Inside, perplexity: float = 30.0) -> list[Path]:
  """The first demonstration and episodes from the run's beginning to its end, embedded together.

  Args:
    inside: an opened checkpoint.
    perplexity: of t-SNE, less than a third of the number of states; its seed is fixed.

  Raises:
    InputError: if scikit-learn is missing, or the replay holds no episode.
  """
  found = importlib.util.find_spec('sklearn') is not None
  errors.check(found, '--figure=latents', 'no scikit-learn', '`pip install scikit-learn`')
  from sklearn import manifold

  replay, expert = inside_lib.replay_of(inside), inside_lib.expert_replay(inside)
  own = inside_lib.episode_rows(replay)
  errors.check(bool(own), 'checkpoint', 'no episode of the agent', 'one saved after a round')
  first = inside.loaded.counters['episodes'] - len(own)  # Older ones are overwritten.
  chosen = np.unique(np.round(np.multiply(_FRACTIONS, len(own) - 1)).astype(int))
  shown = [inside_lib.latents(inside, expert, inside_lib.episode_rows(expert)[0])]
  shown += [inside_lib.latents(inside, replay, own[number]) for number in chosen]
  states = np.concatenate(shown)
  perplexity = min(perplexity, (len(states) - 1) / 3)
  embed = manifold.TSNE(perplexity=perplexity, init='pca', random_state=0)
  parts = np.split(embed.fit_transform(states), np.cumsum([len(x) for x in shown])[:-1])
  labels = [f'episode {first + number + 1}' for number in chosen]
  spread = max(len(own) - 1, 1)
  agent = [Path(x, part, n / spread) for x, part, n in zip(labels, parts[1:], chosen)]
  return [Path('demonstration', parts[0], None), *agent]


@style.styled
def draw(paths: Sequence[Path], outputs: Sequence[str | os.PathLike]) -> None:
  """Draws every episode as a path; a ring marks where it begins."""
  figure, axes = style.subplots(1, 1, width=5.4, height=4.2)
  ax = axes[0, 0]
  colours = matplotlib.colormaps[style.SEQUENTIAL]
  markers = 's^Dv<>p'
  for number, path in enumerate(paths):
    marker, colour = 'o', style.COLOURS[1]
    if path.fraction is not None:
      marker, colour = style.nth(markers, number), colours(0.05 + 0.9 * path.fraction)
    look = {'marker': marker, 'color': colour}
    ax.plot(*path.points.T, linewidth=0.4, alpha=0.5, color=colour)
    ax.plot(*path.points.T, linestyle='', markersize=3.5, label=path.label, **look)
    ax.plot(*path.points[0], marker='o', markersize=9, markerfacecolor='none', color=colour)
  ax.set(xticks=[], yticks=[], title='t-SNE of latent states')
  ax.legend(fontsize='x-small', loc='center left', bbox_to_anchor=(1, 0.5))
  style.save(figure, outputs)
