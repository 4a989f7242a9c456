"""What a search needs and what it promises; every kind of search stands behind this interface."""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple, Protocol

import chex
import jax

from eimitate import types
from eimitate.ops import squashed_normal


@dataclasses.dataclass(frozen=True)
class Config:
  """Search settings; the defaults are the paper's (appendix A.2).

  kind: pUCT as `node_list` or, the same at half the speed, on `mctx`; `gumbel` for Gumbel MuZero
    (small budgets) or `cem` for the cross-entropy method over action sequences.
  acting_kind: the kind that acts and evaluates, where it is not the one that reanalyses; empty for
    the same.
  num_simulations: simulations per search.
  num_actions: `K`, sampled actions per node.
  bc_fraction: alpha, the share of them drawn from the behaviour-cloning policy.
  c1, c2: pUCT's exploration constants.
  dirichlet_fraction, dirichlet_alpha: noise on the root's prior, where the caller asks for it.
  count_root: pUCT's root value divides by N + 1 instead of N, as the reference does.
  max_considered_actions: Gumbel's m.
  value_scale: Gumbel's sharpness: weights are softmax((50 + most visits) value_scale Q), with Q
    rescaled to [0, 1].
  depth, num_sequences, num_elites, num_iterations: of the cross-entropy method.
  bc_penalty: of the cross-entropy method, and of Gumbel one ply ahead, what it costs at each step
    to leave what the behaviour-cloning policy would do, in rewards per mean squared difference of
    actions. Without that policy's actions (alpha = 0) this plays no part either.
  """

  kind: str = 'node_list'
  acting_kind: str = ''
  num_simulations: int = 50
  num_actions: int = 16
  bc_fraction: float = 0.25
  c1: float = 1.25
  c2: float = 19652.0
  dirichlet_fraction: float = 0.25
  dirichlet_alpha: float = 0.3
  count_root: bool = True
  max_considered_actions: int = 16
  value_scale: float = 0.1
  depth: int = 8
  num_sequences: int = 256
  num_elites: int = 32
  num_iterations: int = 4
  bc_penalty: float = 0.0

  @property
  def num_bc_actions(self) -> int:
    """round(alpha K): the last slots of every node hold the behaviour-cloning policy's actions."""
    return round(self.bc_fraction * self.num_actions)


class Model(NamedTuple):
  """A learned model as pure functions over latents `[..., L]` with any batch dimensions.

  policy, bc_policy: `(params, latent) -> SquashedNormal` with fields `[..., A]`.
  step: `(params, latent, action [..., A]) -> (reward [...], next latent [..., L])`.
  value: `(params, latent) -> [...]`.
  discount: gamma, per agent step.
  """

  policy: Callable[[types.Params, jax.Array], squashed_normal.SquashedNormal]
  bc_policy: Callable[[types.Params, jax.Array], squashed_normal.SquashedNormal]
  step: Callable[[types.Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
  value: Callable[[types.Params, jax.Array], jax.Array]
  discount: float


class Search(Protocol):
  """A batched search from latents."""

  def __call__(
    self,
    params: types.Params,
    rng_key: chex.PRNGKey,
    latent: jax.Array,
    *,
    noise: bool,
    temperature: jax.Array | float = 0.0,
  ) -> types.SearchOutput:
    """Searches from every latent.

    Args:
      params: the model's parameters.
      rng_key: consumed.
      latent: `[B, L]` the roots.
      noise: whether the root is explored with noise (Dirichlet for pUCT, Gumbel for Gumbel
        MuZero, a draw for the cross-entropy method). Static.
      temperature: `T` of the selected action, which pUCT draws from weights^(1/T) and, with
        noise, the cross-entropy method; 0 takes the best. Gumbel MuZero has no use for it.

    Returns:
      A `types.SearchOutput` of `B` roots.
    """
    ...
