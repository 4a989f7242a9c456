import dataclasses
import json

import pytest

from eimitate import agents
from eimitate import configuration

_tuned = agents.efficient_imitate.tuned


def test_override_by_path():
  config = configuration.override(_tuned(), {'search.num_simulations': 8, 'discount': 0.9})
  assert config.search.num_simulations == 8 and config.discount == 0.9
  assert _tuned().search.num_simulations == 16


def test_numbers_and_tuples_keep_their_type():
  config = configuration.override(_tuned(), {'loss.bc': 1, 'networks.value': [64, 64]})
  assert config.loss.bc == 1.0 and isinstance(config.loss.bc, float)
  assert config.networks.value == (64, 64)


@pytest.mark.parametrize(
  'path, value, message',
  [
    (
      'serach.kind',
      'mctx',
      "config.serach.kind: found no field 'serach', expected one of .*search",
    ),
    ('search.knid', 'mctx', "found no field 'knid', expected one of kind"),
    ('search.kind', 3, r'config.search.kind: found 3 \(int\), expected str'),
    ('search.num_actions', 1.5, r'found 1.5 \(float\), expected int'),
    ('batch_size.x', 1, 'config.batch_size.x: found a field of a plain value'),
  ],
)
def test_bad_overrides(path, value, message):
  with pytest.raises(ValueError, match=message):
    configuration.override(_tuned(), {path: value})


@pytest.mark.parametrize('variant', ['tuned', 'paper', 'released'])
def test_json_round_trip(variant):
  config = getattr(agents.efficient_imitate, variant)()
  values = json.loads(json.dumps(configuration.to_dict(config)))
  assert configuration.from_dict(type(config), values) == config


def test_another_versions_fields_are_named():
  values = configuration.to_dict(_tuned())
  values['loss'].pop('bc')
  values['loss']['entropy'] = 0.1
  with pytest.raises(
    ValueError, match=r"config.loss: found missing \['bc'\], unknown \['entropy'\]"
  ):
    configuration.from_dict(agents.efficient_imitate.Config, values)


def test_differences_name_every_leaf():
  other = configuration.override(_tuned(), {'loss.bc': 0.5, 'batch_size': 2})
  lines = configuration.differences(*map(configuration.to_dict, (_tuned(), other)))
  assert lines == ['batch_size: stored 128, given 2', 'loss.bc: stored 0.0001, given 0.5']


def test_configurations_are_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    _tuned().batch_size = 3
