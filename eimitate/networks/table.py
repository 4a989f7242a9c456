"""What a network consists of, to read."""

from typing import Any

import jax


def count(params: Any) -> int:
  """Numbers in a pytree of arrays, or of their shapes."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def table(params: Any) -> str:
  """A line for every array: its path, shape and size; and their sum."""
  rows = [
    (jax.tree_util.keystr(path, simple=True, separator='/'), str(leaf.shape), leaf.size)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  ]
  rows.append(('all', '', count(params)))
  widths = [max(len(row[i]) for row in rows) for i in range(2)]
  return '\n'.join(f'{a:{widths[0]}}  {b:{widths[1]}}  {size:12,}' for a, b, size in rows)
