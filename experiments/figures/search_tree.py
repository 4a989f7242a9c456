"""The search tree of one decision: what the paper's search looks at from one observation."""

from collections.abc import Sequence
import dataclasses
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from eimitate import errors
from eimitate import search as search_lib
from eimitate import types
from eimitate.search import node_list
from experiments.figures import inside as inside_lib
from experiments.figures import style


class Tree(NamedTuple):
  """`N` nodes, the root first, parents before children.

  parent: `[N]`, -1 at the root. visits, depth: `[N]`.
  q: `[N]` reward and discounted value of the step to the node; the root's is its value.
  from_bc: `[N]` whether the behaviour-cloning policy drew the action that leads there.
  chosen: the root's child that would be acted on.
  actions: `[N, A]` of the root's children, NaN for others.
  """

  parent: np.ndarray
  visits: np.ndarray
  depth: np.ndarray
  q: np.ndarray
  from_bc: np.ndarray
  chosen: int
  actions: np.ndarray


def data(inside: inside_lib.Inside, decision: int = 0, num_simulations: int = 50) -> Tree:
  """Searches from the first demonstration's observation before its action number `decision`.

  The search is pUCT (appendix A.2) without noise, whatever the agent acts with.

  Raises:
    InputError: if there is no such decision.
  """
  expert = inside_lib.expert_replay(inside)
  rows = inside_lib.episode_rows(expert)[0]
  last = len(rows) - 2
  errors.check(0 <= decision <= last, '--decision', decision, f'0 to {last}')
  errors.check(num_simulations >= 1, '--simulations', num_simulations, 'at least 1')
  latent = jnp.asarray(inside_lib.latents(inside, expert, rows[decision : decision + 1]))
  config = dataclasses.replace(inside.config.search, num_simulations=num_simulations)
  return search(config, inside.model, inside.loaded.params, latent)


def search(
  config: search_lib.Config, model: search_lib.Model, params: types.Params, latent: jax.Array
) -> Tree:
  """Searches by pUCT from one latent `[1, L]`, without noise."""

  @jax.jit
  def grow(params, latent):
    tree, root = node_list.grow_tree(config, model, params, jax.random.key(0), latent, noise=False)
    value = node_list.root_value(config, tree)
    return tree, root, node_list.q_values(model.discount, tree), value

  tree, root, q, value = jax.device_get(grow(params, latent))
  parent, visits = tree.parent[:, 0], tree.visits[:, 0]
  depth = np.zeros(len(parent), int)
  for node in range(1, len(parent)):
    depth[node] = depth[parent[node]] + 1
  children = np.flatnonzero(parent == 0)
  actions = np.full((len(parent), root.actions.shape[-1]), np.nan)
  actions[children] = root.actions[0, tree.slot[children, 0]]
  q = q[:, 0].copy()
  q[0] = value[0]
  chosen = int(children[np.argmax(visits[children])])
  return Tree(parent, visits, depth, q, tree.from_bc[:, 0], chosen, actions)


def layout(parent: np.ndarray) -> np.ndarray:
  """Where nodes stand from left to right, `[N]`: leaves one apart, others over their children."""
  children = [np.flatnonzero(parent == node) for node in range(len(parent))]
  x, leaves = np.zeros(len(parent)), iter(range(len(parent)))

  def place(node):
    for child in children[node]:
      place(child)
    x[node] = np.mean(x[children[node]]) if len(children[node]) else next(leaves)

  place(0)
  return x


@style.styled
def draw(tree: Tree, outputs: Sequence[str | os.PathLike]) -> None:
  """Draws the tree: areas and widths are visits, colours are values, dashes are the BC policy's."""
  figure, axes = style.subplots(1, 1, width=7.5, height=4.5)
  ax = axes[0, 0]
  x, y = layout(tree.parent), -tree.depth
  share = tree.visits / tree.visits[0]
  for node in range(1, len(x)):
    parent = tree.parent[node]
    look = {
      'color': style.COLOURS[1] if tree.from_bc[node] else style.COLOURS[0],
      'linestyle': (0, (3, 1.5)) if tree.from_bc[node] else '-',
      'linewidth': 0.6 + 6 * share[node],
    }
    ax.plot([x[parent], x[node]], [y[parent], y[node]], zorder=1, **look)
  points = ax.scatter(
    x, y, s=25 + 500 * share, c=tree.q, cmap=style.SEQUENTIAL, edgecolors='black', zorder=2
  )
  figure.colorbar(points, ax=ax, label='value of the step (Q), root: its value')
  at = (x[tree.chosen], y[tree.chosen])
  action = ', '.join(f'{part:.2f}' for part in tree.actions[tree.chosen])
  white = {'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.8, 'pad': 1}
  place = {'xytext': (0, -22), 'textcoords': 'offset points', 'ha': 'center', 'bbox': white}
  ax.annotate(f'chosen: ({action})', at, **place)
  handles = [
    matplotlib.lines.Line2D([], [], color=style.COLOURS[number], linestyle=dashes, label=label)
    for number, dashes, label in ((0, '-', 'policy'), (1, '--', 'BC policy'))
  ]
  ax.legend(handles=handles, title='action drawn by', fontsize='small', loc='upper left')
  ax.set(xticks=[], yticks=range(-max(tree.depth), 1), ylabel='depth', xlabel='')
  ax.set_yticklabels([str(-tick) for tick in range(-max(tree.depth), 1)])
  ax.grid(visible=False)
  ax.set_title(f'{int(tree.visits[0]) - 1} simulations from one observation')
  style.save(figure, outputs)
