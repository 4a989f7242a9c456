"""From a configuration to a search."""

from eimitate import errors
from eimitate.search import base
from eimitate.search import gumbel
from eimitate.search import puct

_KINDS = {'mctx': puct.make_search, 'gumbel': gumbel.make_search}


def make_search(config: base.Config, model: base.Model) -> base.Search:
  """Builds the search that `config.kind` names over `model`.

  Raises:
    InputError: on an unknown kind, or numbers that no search can have.
  """
  field = lambda name: f'search.{name}'
  errors.check(config.kind in _KINDS, field('kind'), repr(config.kind), ' or '.join(_KINDS))
  for name in ('num_simulations', 'num_actions', 'max_considered_actions'):
    value = getattr(config, name)
    errors.check(value >= 1, field(name), value, 'at least 1')
  in_unit = 0 <= config.bc_fraction <= 1
  errors.check(in_unit, field('bc_fraction'), config.bc_fraction, 'a share in [0, 1]')
  return _KINDS[config.kind](config, model)
