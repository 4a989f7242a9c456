"""What every binary shares: bad input ends in one line, and --config becomes frozen dataclasses."""

from collections.abc import Callable
import dataclasses
import os
import sys
from typing import Any, NoReturn, TypeVar

from absl import app
from absl import flags
from absl import logging
import jax
from ml_collections import config_dict
from ml_collections import config_flags

from eimitate import configuration
from eimitate import errors

T = TypeVar('T')


def define_config(*defaults: Any) -> flags.FlagHolder:
  """Defines `--config.FIELD=VALUE` for the fields of a frozen dataclass, or of any of several.

  The values given on the command line are laid over whatever configuration preset, variant and task
  lead to: see `overridden`.
  """
  merged = {}
  for default in reversed(defaults):
    merged |= configuration.to_dict(default)
  fields = config_dict.ConfigDict(_with_tuples(merged))
  try:  # This reads the command line already, to find the fields that it overrides.
    return config_flags.DEFINE_config_dict('config', fields)
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    _stop(f'--config: {_one_line(error)}, expected a field of the configuration')


def _with_tuples(fields: Any) -> Any:
  """Lists as tuples: only these have a form on the command line, `--config.FIELD='(256, 256)'`."""
  if isinstance(fields, dict):
    return {name: _with_tuples(value) for name, value in fields.items()}
  return tuple(fields) if isinstance(fields, list) else fields


def overridden(config: T, holder: flags.FlagHolder) -> T:
  """`config` with the command line's `--config.FIELD=VALUE` laid over it."""
  given = config_flags.get_override_values(flags.FLAGS[holder.name])
  return configuration.override(config, given)


def part(config: Any, cls: Any) -> Any:
  """The fields of the dataclass `cls` out of a configuration that has them among others."""
  return cls(**{field.name: getattr(config, field.name) for field in dataclasses.fields(cls)})


def run(main: Callable[[], None]) -> None:
  """Parses the command line and calls `main`; bad input is one line on stderr and exit code 2."""
  app.run(lambda _: _guarded(main), flags_parser=_parse)


def _parse(argv):
  try:
    rest = flags.FLAGS(argv)
    errors.check(len(rest) == 1, 'command line', ' '.join(rest[1:]), 'only flags')
    return rest
  except (flags.Error, errors.InputError, AttributeError, KeyError, TypeError, ValueError) as error:
    _stop(f'{_one_line(error)} (--helpfull lists all flags)')


def _guarded(main):
  logging.set_verbosity(logging.WARNING)  # Libraries report every step of every checkpoint.
  try:
    main()
  except errors.InputError as error:
    _stop(error)
  except (FloatingPointError, errors.EnvironmentsFailed) as error:
    _stop(f'{error}; the last checkpoint is kept')
  # A device was lost, or its memory is full; or another process was killed.
  except (ConnectionError, jax.errors.JaxRuntimeError) as error:
    _say(f'device: {_one_line(error)[:500]}; the last checkpoint is kept')
    if jax.process_count() > 1:
      os._exit(2)  # On its way out jax would wait for the process that is gone, and then abort.
    sys.exit(2)
  except OSError as error:  # A full disk, a read-only folder.
    _stop(f'{_one_line(error)}; the last checkpoint is kept')


def _one_line(error):
  # A KeyError puts quotes around its text; an OSError keeps the file's name beside it.
  text = error if isinstance(error, OSError) or not error.args else error.args[0]
  return ' '.join(str(text).split())


def _stop(error) -> NoReturn:
  _say(error)
  sys.exit(2)


def _say(error):
  print(f'error: {error}', file=sys.stderr, flush=True)
