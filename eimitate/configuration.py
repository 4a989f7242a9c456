"""Frozen dataclasses as configurations: overriding by path, to JSON and back."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

from eimitate import errors


def override(config: Any, overrides: Mapping[str, Any]) -> Any:
  """A copy of `config` with fields replaced by dotted path, `{'search.num_actions': 8}`.

  Raises:
    InputError: on a field that does not exist, or a value of another type.
  """
  for path, value in overrides.items():
    config = _replace(config, path.split('.'), value, f'config.{path}')
  return config


def to_dict(config: Any) -> dict[str, Any]:
  """Nested plain dictionaries and lists, ready for JSON."""
  return {
    field.name: _to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)
  }


def from_dict(cls: Any, values: Mapping[str, Any], name: str = 'config') -> Any:
  """The inverse of `to_dict`.

  Raises:
    InputError: naming every field that is missing or unknown.
  """
  default = cls()
  known = {field.name for field in dataclasses.fields(cls)}
  errors.check(
    set(values) == known,
    name,
    f'missing {sorted(known - set(values))}, unknown {sorted(set(values) - known)}',
    f"the fields of this version's {cls.__name__}",
  )
  fields = {}
  for key, value in values.items():
    current = getattr(default, key)
    if dataclasses.is_dataclass(current):
      fields[key] = from_dict(type(current), value, f'{name}.{key}')
    else:
      fields[key] = _coerce(current, value, f'{name}.{key}')
  return cls(**fields)


def check_finite(config: Any, name: str = 'config') -> None:
  """Raises `InputError` where a number anywhere in `config` is infinite or none."""
  for field in dataclasses.fields(config):
    value, path = getattr(config, field.name), f'{name}.{field.name}'
    if dataclasses.is_dataclass(value):
      check_finite(value, path)
    for number in value if isinstance(value, tuple) else (value,):
      finite = not isinstance(number, float) or math.isfinite(number)
      errors.check(finite, path, value, 'finite numbers')


def differences(stored: Mapping[str, Any], given: Mapping[str, Any], name: str = '') -> list[str]:
  """`field: stored X, given Y` for every leaf in which two nested dictionaries differ."""
  lines = []
  for key in sorted(set(stored) | set(given)):
    a, b, path = stored.get(key), given.get(key), f'{name}{key}'
    if isinstance(a, Mapping) and isinstance(b, Mapping):
      lines += differences(a, b, f'{path}.')
    elif a != b:
      lines.append(f'{path}: stored {a!r}, given {b!r}')
  return lines


def _replace(config, path, value, name):
  head, *rest = path
  known = [field.name for field in dataclasses.fields(config)]
  errors.check(head in known, name, f'no field {head!r}', f'one of {", ".join(known)}')
  current = getattr(config, head)
  if rest:
    errors.check(dataclasses.is_dataclass(current), name, 'a field of a plain value', 'its name')
    return dataclasses.replace(config, **{head: _replace(current, rest, value, name)})
  return dataclasses.replace(config, **{head: _coerce(current, value, name)})


def _coerce(current, value, name):
  """`value` as the type of `current`: JSON and flags lose tuples and write 1 for 1.0."""
  if isinstance(current, tuple) and isinstance(value, (tuple, list)):
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)
    errors.check(numbers, name, repr(tuple(value)), 'numbers, like (256, 256)')
    return tuple(value)
  if type(current) is float and type(value) is int:
    return float(value)
  same = type(value) is type(current)
  errors.check(same, name, f'{value!r} ({type(value).__name__})', type(current).__name__)
  return value


def _to_plain(value):
  if dataclasses.is_dataclass(value):
    return to_dict(value)
  return list(value) if isinstance(value, tuple) else value
