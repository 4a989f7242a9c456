"""From a configuration to a search."""

from eimitate import errors
from eimitate.search import base
from eimitate.search import cem
from eimitate.search import gumbel
from eimitate.search import node_list
from eimitate.search import puct

_KINDS = {
  'mctx': puct.make_search,
  'node_list': node_list.make_search,
  'gumbel': gumbel.make_search,
  'cem': cem.make_search,
}
_COUNTS = (
  'num_simulations',
  'num_actions',
  'max_considered_actions',
  'depth',
  'num_elites',
  'num_iterations',
)


def make_search(config: base.Config, model: base.Model) -> base.Search:
  """Builds the search that `config.kind` names over `model`.

  Raises:
    InputError: on an unknown kind, or numbers that no search can have.
  """
  field = lambda name: f'search.{name}'
  errors.check(config.kind in _KINDS, field('kind'), repr(config.kind), ' or '.join(_KINDS))
  at_least = dict.fromkeys(_COUNTS, 1) | {'num_sequences': 4}
  for name, least in at_least.items():
    value = getattr(config, name)
    errors.check(value >= least, field(name), value, f'at least {least}')
  enough = config.num_elites <= config.num_sequences
  errors.check(enough, field('num_elites'), config.num_elites, 'at most search.num_sequences')
  if config.kind == 'node_list':
    # Its backup divides by powers of the discount: at 0.5 it is off by 0.02 at a depth of 20.
    exact, expected = model.discount >= 0.8, '0.8 or more, or search.kind=mctx'
    errors.check(exact, 'discount', model.discount, expected)
  for name in ('bc_fraction', 'dirichlet_fraction'):
    value = getattr(config, name)
    errors.check(0 <= value <= 1, field(name), value, 'a share in [0, 1]')
  for name in ('c2', 'dirichlet_alpha', 'value_scale'):
    value = getattr(config, name)
    errors.check(value > 0, field(name), value, 'more than 0')
  for name in ('c1', 'bc_penalty'):
    value = getattr(config, name)
    errors.check(value >= 0, field(name), value, '0 or more')
  return _KINDS[config.kind](config, model)
