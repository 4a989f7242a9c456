"""A slow, readable tree that replays the random choices of a finished search.

It is told which edge each simulation expanded and what the networks said there. It decides by
itself which edges may be followed (every maximiser of the selection rule), checks that the recorded
path follows only such edges, and computes visits and values by plain recursion.
"""

import math

import numpy as np

_TIE = 1e-5


class Node:
  """A node with its own list of returns; children by slot."""

  def __init__(self, parent=None, slot=None, reward=0.0):
    self.parent, self.slot, self.reward = parent, slot, reward
    self.returns, self.children = [], {}

  def q(self, discount):
    return self.reward + discount * float(np.mean(self.returns))


class NumpyTree:
  """One root's search under the paper's rules."""

  def __init__(self, config, discount, prior, root_q):
    self.config, self.discount = config, discount
    self.prior, self.root_q = np.asarray(prior, float), np.asarray(root_q, float)
    self.root = Node()
    self.nodes = [self.root]

  def simulate(self, parent_index, slot, reward, value):
    """Descends to `(parent_index, slot)`, which must be allowed, expands it and backs up."""
    target = self.nodes[parent_index]
    path, node = [], target
    while node is not None:
      path.append(node)
      node = node.parent
    path.reverse()
    followed = [child.slot for child in path[1:]] + [slot]
    mean_q = None
    lowest, highest = self._range()
    for node, chosen in zip(path, followed):
      mean_q = self._mean_q(node, mean_q)
      scores = self._scores(node, mean_q, lowest, highest)
      best = max(scores)
      assert scores[chosen] >= best - _TIE, (chosen, scores)
    assert slot not in target.children, 'an edge is expanded once'
    leaf = Node(target, slot, reward)
    target.children[slot] = leaf
    self.nodes.append(leaf)
    self._backup(leaf, value)

  def visits(self):
    return [
      len(self.root.children[k].returns) if k in self.root.children else 0
      for k in range(self.config.num_actions)
    ]

  def value(self):
    total, count = sum(self.root.returns), len(self.root.returns)
    return total / (count + 1) if self.config.count_root else total / count

  def _backup(self, node, value):
    while node is not None:
      node.returns.append(value)
      value = node.reward + self.discount * value
      node = node.parent

  def _range(self):
    values = list(self.root_q) + [node.q(self.discount) for node in self.nodes[1:]]
    return min(values), max(values)

  def _mean_q(self, node, parent_mean_q):
    values = [child.q(self.discount) for child in node.children.values()]
    if node is self.root:
      return sum(values) / len(values) if values else 0.0
    return (parent_mean_q + sum(values)) / (len(values) + 1)

  def _scores(self, node, mean_q, lowest, highest):
    config = self.config
    total = sum(len(child.returns) for child in node.children.values())
    weight = config.c1 + math.log((1 + config.c2 + total) / config.c2)
    scores = []
    for k in range(config.num_actions):
      at_root = node is self.root
      if k in node.children:
        q, visits = node.children[k].q(self.discount), len(node.children[k].returns)
      else:
        q, visits = (self.root_q[k] if at_root else mean_q), 0
      prior = self.prior[k] if at_root else 1 / config.num_actions
      if highest > lowest:
        q = (q - lowest) / max(highest - lowest, 0.01)
      scores.append(min(max(q, 0), 1) + weight * prior * math.sqrt(total) / (1 + visits))
    return scores
