"""EfficientImitate's search (appendix A.2) over trees kept as lists of nodes, `[N, B]`.

Node i of every tree is the one that simulation i added: writing it is one row for the whole batch,
and a node's children are found by comparing `parent` with it. No scatter, and no array of all
actions of all nodes. The semantics are those of `puct`, on `mctx.search`.

Sizes: `N` nodes so far at most, `B` trees, `K` sampled actions per node, `L` latent.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from eimitate import types
from eimitate.search import actions as actions_lib
from eimitate.search import base
from eimitate.search import root as root_lib
from eimitate.search import selection

_NEVER = -1e9
# The lists grow in steps, so that early simulations look at short ones.
_GROWTH = (0.25, 0.5, 1.0)


class Tree(NamedTuple):
  """`B` trees; every field is `[N, B]` unless it says otherwise, row 0 is the root.

  parent: the parent's row, -1 where there is no node yet.
  slot: which of the parent's actions led here; below the root, in the order they were tried.
  from_bc: whether that action is the behaviour-cloning policy's.
  visits: simulations through the node; 1 for the root before the first.
  total: sum of the returns from the node on of these simulations, its first value included.
  value: its first value.
  reward: of the step that led here. prior: of the action that led here.
  prefix: discounted rewards from the root to here. discount: gamma^depth.
  path: `[words, N, B]` uint32, bit j of the words is set if row j is this node or above it.
  latent: `[N, B, L]`.
  untried: `[K, B]` bool, the root's actions without a node.
  """

  parent: jax.Array
  slot: jax.Array
  from_bc: jax.Array
  visits: jax.Array
  total: jax.Array
  value: jax.Array
  reward: jax.Array
  prior: jax.Array
  prefix: jax.Array
  discount: jax.Array
  path: jax.Array
  latent: jax.Array
  untried: jax.Array


class Root(NamedTuple):
  """What all simulations share.

  actions: `[B, K, A]`. prior, q: `[K, B]` of the root's actions.
  order: `[M, B]` uint32, random words that rank rows and slots where they tie.
  """

  actions: jax.Array
  prior: jax.Array
  q: jax.Array
  order: jax.Array


class Edge(NamedTuple):
  """Where a simulation leaves the tree, `[B]`: parent's row, its slot, whose action it is."""

  parent: jax.Array
  slot: jax.Array
  from_bc: jax.Array


class Leaf(NamedTuple):
  """What the model says of a new node: reward `[B]`, latent `[B, L]` and value `[B]`."""

  reward: jax.Array
  latent: jax.Array
  value: jax.Array


class Draws(NamedTuple):
  """The random numbers of `S` simulations, drawn at once: a draw a loop step is slow on a CPU.

  flips: `[S, 2, B]` uint32; flipping these bits of `Root.order` gives each simulation another.
  leave: `[S, 4]` uint32, a key for the draws on the way down.
  from_bc: `[S, B]` uniform, noise: `[S, B, A]` normal, for the action that is tried.
  """

  flips: jax.Array
  leave: jax.Array
  from_bc: jax.Array
  noise: jax.Array


def make_search(config: base.Config, model: base.Model) -> base.Search:
  """Builds the node-list search; see `base.Search`."""

  def search(params, rng_key, latent, *, noise, temperature=0.0):
    search_key, select_key = jax.random.split(rng_key)
    tree, root = grow_tree(config, model, params, search_key, latent, noise=noise)
    weights = root_visits(config, tree)
    weights /= weights.sum(1, keepdims=True)
    return types.SearchOutput(
      value=root_value(config, tree),
      actions=root.actions,
      weights=weights,
      selected=root_lib.sample_visits(select_key, weights, temperature),
    )

  return search


def root_value(config: base.Config, tree: Tree) -> jax.Array:
  """Mean return of the simulations, `[B]`, over N or, with `count_root`, over N + 1."""
  return tree.total[0] / (tree.visits[0] - (0 if config.count_root else 1))


def root_visits(config: base.Config, tree: Tree) -> jax.Array:
  """How often each of the root's actions was tried, `[B, K]`."""
  visits = jnp.where(tree.parent == 0, tree.visits, 0.0)
  return (jax.nn.one_hot(tree.slot, config.num_actions) * visits[..., None]).sum(0)


def grow_tree(
  config: base.Config,
  model: base.Model,
  params: types.Params,
  rng_key: chex.PRNGKey,
  latent: jax.Array,
  *,
  noise: bool,
) -> tuple[Tree, Root]:
  """The trees after all simulations, and their roots."""
  actions_key, prior_key, order_key, draw_key = jax.random.split(rng_key, 4)
  actions = actions_lib.sample_root_actions(config, model, params, actions_key, latent)
  prior = root_lib.prior(config, prior_key, len(latent), noise)
  q = root_lib.evaluate_children(model, params, latent, actions)
  num_words = max(config.num_simulations + 1, config.num_actions)
  order = jax.random.bits(order_key, (num_words, len(latent)), jnp.uint32)
  root = Root(actions, prior.T, q.T, order)
  draws = draw(config, draw_key, *actions.shape[::2])

  def simulate(simulation, tree):
    now = jax.tree.map(lambda x: x[simulation], draws)
    edge = descend(config, model.discount, root, tree, now, simulation)
    leaf = expand(model, params, root, tree, edge, now.noise)
    return backup(config, model.discount, root, tree, simulation + 1, edge, leaf)

  tree, done = init(config, latent), 0
  for share in _GROWTH:
    rows = 1 + round(share * config.num_simulations)
    tree = extend(tree, rows)
    tree = jax.lax.fori_loop(done, rows - 1, simulate, tree)
    done = rows - 1
  return tree, root


def draw(config: base.Config, rng_key: chex.PRNGKey, batch: int, action_size: int) -> Draws:
  """The random numbers of a search from `batch` roots."""
  keys = jax.random.split(rng_key, 4)
  simulations = config.num_simulations
  return Draws(
    flips=jax.random.bits(keys[0], (simulations, 2, batch), jnp.uint32),
    leave=jax.random.bits(keys[1], (simulations, 4), jnp.uint32),
    from_bc=jax.random.uniform(keys[2], (simulations, batch)),
    noise=jax.random.normal(keys[3], (simulations, batch, action_size)),
  )


def init(config: base.Config, latent: jax.Array) -> Tree:
  """Trees that are only a root at `latent` `[B, L]`."""
  zeros, ones = jnp.zeros((1, len(latent))), jnp.ones((1, len(latent)))
  words = config.num_simulations // 32 + 1
  return Tree(
    parent=jnp.full(zeros.shape, -1, jnp.int32),
    slot=zeros.astype(jnp.int32),
    from_bc=zeros.astype(bool),
    visits=ones,
    total=zeros,
    value=zeros,
    reward=zeros,
    prior=zeros,
    prefix=zeros,
    discount=ones,
    path=jnp.zeros((words,) + zeros.shape, jnp.uint32).at[0].set(1),
    latent=latent[None],
    untried=jnp.ones((config.num_actions, len(latent)), bool),
  )


def extend(tree: Tree, rows: int) -> Tree:
  """Makes room for `rows` nodes."""

  def pad(x, axis=0, value=0):
    shape = list(x.shape)
    shape[axis] = rows - shape[axis]
    return jnp.concatenate([x, jnp.full(shape, value, x.dtype)], axis)

  fields = tree._asdict()
  other = {
    'parent': pad(tree.parent, value=-1),
    'path': pad(tree.path, axis=1),
    'untried': tree.untried,
  }
  return Tree(**{name: other[name] if name in other else pad(x) for name, x in fields.items()})


def q_values(discount: float, tree: Tree) -> jax.Array:
  """Q of the action that led to each node, `[N, B]`: r + gamma times the mean return from there."""
  return tree.reward + discount * tree.total / jnp.maximum(tree.visits, 1)


def descend(
  config: base.Config,
  discount: float,
  root: Root,
  tree: Tree,
  draws: Draws,
  simulation: jax.Array,
) -> Edge:
  """Follows the selection rule (Eq. 2) from the root until it picks an action without a node.

  All trees go down level by level; those that have left the tree wait. `draws` are those of this
  simulation.
  """
  # What belongs to a tree is `[1, B]` here, beside `[N, B]` of its nodes.
  add = lambda x: jnp.sum(x, 0, keepdims=True)
  highest_of = lambda x: jnp.max(x, 0, keepdims=True)
  lowest_of = lambda x: jnp.min(x, 0, keepdims=True)

  q = q_values(discount, tree)
  exists = tree.parent >= 0
  lowest = jnp.minimum(lowest_of(jnp.where(exists, q, jnp.inf)), lowest_of(root.q))
  highest = jnp.maximum(highest_of(jnp.where(exists, q, -jnp.inf)), highest_of(root.q))
  normalise = lambda x: selection.normalise(x, lowest, highest)
  scaled, bonus = normalise(q), tree.prior / (1 + tree.visits)

  def choose(key, tried, untried, num_untried):
    """Breaks ties evenly over all actions: whether an untried one wins, and else which child."""
    best = jnp.maximum(highest_of(tried), highest_of(untried))
    tied_tried, tied_untried = tried >= best - selection.TIE, untried >= best - selection.TIE
    num_tried, num_untried = add(tied_tried), add(jnp.where(tied_untried, num_untried, 0))
    key, bits = jax.lax.rng_bit_generator(key, best.shape)
    uniform = (bits >> 8).astype(jnp.float32) / 2**24
    leave = uniform * (num_tried + num_untried) >= num_tried
    child = _first(tied_tried, root.order, draws.flips[:1])
    return key, leave, child, tied_untried

  # At the root every untried action has a Q of its own.
  children = tree.parent == 0
  c = selection.exploration(config, simulation.astype(jnp.float32))
  tried = jnp.where(children, scaled + c * bonus, _NEVER)
  untried = jnp.where(tree.untried, normalise(root.q) + c * root.prior, _NEVER)
  key, leave, child, tied = choose(draws.leave, tried, untried, 1)
  root_slot = _first(tied, root.order, draws.flips[1:])
  mean_q = add(jnp.where(children, q, 0)) / jnp.maximum(add(children), 1)

  def step(carry):
    key, node, inside, mean_q = carry
    children = tree.parent == node
    count = add(children)
    # An untried action has EfficientZero's mean Q; the parent's counts as one of the visited.
    mean_q = (mean_q + add(jnp.where(children, q, 0))) / (count + 1)
    visits = jnp.take_along_axis(tree.visits, node, 0)
    c = selection.exploration(config, visits - 1)
    tried = jnp.where(children, scaled + c * bonus, _NEVER)
    num_untried = config.num_actions - count
    untried = jnp.where(num_untried > 0, normalise(mean_q) + c / config.num_actions, _NEVER)
    key, leave, child, _ = choose(key, tried, untried, num_untried)
    going_on = inside & ~leave
    return key, jnp.where(going_on, child, node), going_on, mean_q

  start = (key, jnp.where(leave, 0, child), ~leave, mean_q)
  _, node, _, _ = jax.lax.while_loop(lambda carry: carry[2].any(), step, start)

  # Below the root untried slots are exchangeable, but for whose they are.
  children = tree.parent == node
  count, at_root = add(children), node == 0
  bc_left = config.num_bc_actions - add(children & tree.from_bc)
  slot = jnp.where(at_root, root_slot, count)
  from_bc = jnp.where(
    at_root,
    slot >= config.num_actions - config.num_bc_actions,
    draws.from_bc[None] * (config.num_actions - count) < bc_left,
  )
  return Edge(node[0], slot[0], from_bc[0])


def _first(tied: jax.Array, order: jax.Array, flips: jax.Array) -> jax.Array:
  """A random row of those set in `tied` `[M, B]`, `[1, B]`.

  The highest word of `order` wins; the last bits of each are made its row's number.
  """
  row_bits = jnp.uint32((1 << len(tied).bit_length()) - 1)
  rows = jnp.arange(len(tied), dtype=jnp.uint32)[:, None]
  words = ((order[: len(tied)] ^ flips) & ~row_bits) | rows
  highest = jnp.max(jnp.where(tied, words, 0), 0, keepdims=True)
  return (highest & row_bits).astype(jnp.int32)


def expand(
  model: base.Model,
  params: types.Params,
  root: Root,
  tree: Tree,
  edge: Edge,
  noise: jax.Array,
) -> Leaf:
  """Takes the edge's action, drawn with `noise` `[B, A]`.

  Below the root an action is drawn only now: untried ones are exchangeable.
  """
  columns = jnp.arange(tree.parent.shape[1])
  latent = tree.latent[edge.parent, columns]
  drawn = actions_lib.draw_action(model, params, latent, edge.from_bc, noise)
  action = jnp.where((edge.parent == 0)[:, None], root.actions[columns, edge.slot], drawn)
  reward, following = model.step(params, latent, action)
  return Leaf(reward, following, model.value(params, following))


def backup(
  config: base.Config,
  discount: float,
  root: Root,
  tree: Tree,
  row: jax.Array,
  edge: Edge,
  leaf: Leaf,
) -> Tree:
  """Writes the leaf to `row` and adds its return to every node above it, without a loop.

  The return of this simulation from node j on is (prefix of the leaf + its discounted value
  - prefix_j) / gamma^depth_j, for all j on the leaf's path at once.
  """
  columns = jnp.arange(tree.parent.shape[1])
  at_parent = lambda x: x[edge.parent, columns]
  prefix = at_parent(tree.prefix) + at_parent(tree.discount) * leaf.reward
  depth_discount = at_parent(tree.discount) * discount
  path = tree.path[:, edge.parent, columns]
  rows = jnp.arange(len(tree.parent), dtype=jnp.uint32)
  above = ((path[rows // 32] >> (rows % 32)[:, None]) & 1).astype(jnp.float32)
  returns = ((prefix + depth_discount * leaf.value)[None] - tree.prefix) / tree.discount
  own_bit = jnp.arange(len(path)) == row // 32
  own_bit = jnp.where(own_bit, jnp.uint32(1) << (row % 32).astype(jnp.uint32), 0)
  at_root = edge.parent == 0
  prior = jnp.where(at_root, root.prior[edge.slot, columns], 1 / config.num_actions)
  write = lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new[None].astype(x.dtype), row, 0)
  return Tree(
    parent=write(tree.parent, edge.parent),
    slot=write(tree.slot, edge.slot),
    from_bc=write(tree.from_bc, edge.from_bc),
    visits=write(tree.visits + above, jnp.ones_like(leaf.value)),
    total=write(tree.total + jnp.where(above > 0, returns, 0), leaf.value),
    value=write(tree.value, leaf.value),
    reward=write(tree.reward, leaf.reward),
    prior=write(tree.prior, prior),
    prefix=write(tree.prefix, prefix),
    discount=write(tree.discount, depth_discount),
    path=jax.lax.dynamic_update_slice_in_dim(
      tree.path, (path | own_bit[:, None].astype(jnp.uint32))[:, None], row, 1
    ),
    latent=write(tree.latent, leaf.latent),
    untried=tree.untried
    & ~(at_root[None] & (jnp.arange(config.num_actions)[:, None] == edge.slot[None])),
  )
