"""The README's commands name binaries, flags and settings that exist."""

import pathlib
import re
import shlex

import pytest

from tests.experiments import programs

_README = pathlib.Path(__file__).parents[2] / 'README.md'
_BLOCK = re.compile(r'^```bash\n(.*?)^```', re.MULTILINE | re.DOTALL)
_BINARY = re.compile(r'(?:-m experiments\.(\w+)|\./train\.sh)(.*)')
_PLACEHOLDER = '--config.FIELD=VALUE'


def _commands():
  for block in _BLOCK.findall(_README.read_text()):
    for line in block.replace('\\\n', ' ').splitlines():
      if found := _BINARY.search(line):
        binary, arguments = found.groups()
        given = [x for x in shlex.split(arguments, comments=True) if x != _PLACEHOLDER]
        yield binary or 'train_efficient_imitate', tuple(given)


@pytest.mark.parametrize('binary, arguments', sorted(set(_commands())))
def test_a_command_is_understood(binary, arguments):
  result = programs.run(binary, *arguments, '--only_check_args')
  assert result.returncode == 0, result.stderr


def test_a_wrong_command_is_not():
  result = programs.run('train_efficient_imitate', '--config.search.dept=8', '--only_check_args')
  assert result.returncode == 2
