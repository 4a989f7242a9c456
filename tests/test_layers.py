"""Imports point downwards only."""

import ast
import pathlib
import subprocess
import sys

import eimitate

_ROOT = pathlib.Path(eimitate.__file__).parent

# Each part may import the parts named with it, and itself; anything else is an upward import.
_BASE = {'errors', 'configuration', 'types'}
_PURE = _BASE | {'networks', 'ops'}
_HOST = {'parallel', 'processes', 'logs', 'checkpoints', 'acting'}
_HOST |= {'acting_on_device', 'acting_with_ray'}
_ABOVE = {'agents', 'environments', 'demonstrations', 'replay', 'evaluation', 'runs'}
_ALLOWED = {
  'errors': set(),
  'configuration': {'errors'},
  'types': {'errors'},
  'memory': set(),
  'networks': _BASE,
  'ops': _BASE,
  'replay': _PURE,
  'rewards': _PURE,
  'search': _PURE,
  'agents': _PURE | {'replay', 'rewards', 'search'},
  'environments': _BASE | {'rewards'},
  'demonstrations': _BASE | {'environments', 'memory'},
  'parallel': _BASE | {'memory'},
  'processes': _BASE,
  'logs': _BASE,
  'checkpoints': _BASE,
  'acting': _BASE,
  'acting_on_device': _BASE | {'environments', 'parallel', 'replay'},
  'tracking': _BASE | {'rewards', 'environments', 'demonstrations', 'runs'},
  'inputs': _PURE | _ABOVE | {'tracking'},
  'acting_with_ray': _BASE | {'acting'},
  'states': _BASE | _HOST | {'runs', 'evaluation'},
  'evaluation': _PURE
  | {'agents', 'environments', 'demonstrations', 'rewards', 'runs', 'tracking'}
  | _HOST,
  'imitation': _BASE
  | {
    'acting',
    'acting_on_device',
    'environments',
    'evaluation',
    'demonstrations',
    'rewards',
    'runs',
    'tracking',
  },
  'runs': _BASE,
  'collecting': _PURE | _ABOVE | _HOST | {'inputs', 'states'},
  'training': _PURE | _ABOVE | _HOST | {'inputs', 'states', 'collecting'},
}
_IO_FREE = {'networks', 'ops', 'replay', 'rewards', 'search', 'agents', 'types'}
_PURE_LIBRARIES = {
    'jax', 'flax', 'optax', 'mctx', 'chex', 'numpy',
    'collections', 'dataclasses', 'functools', 'math', 'typing',
}  # fmt: skip


def _imports(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: relative import'
      # `from eimitate import x` imports the module x.
      if node.module == 'eimitate':
        yield from (f'eimitate.{alias.name}' for alias in node.names)
      else:
        yield node.module


def _violations(root):
  for path in sorted(root.rglob('*.py')):
    part = path.relative_to(root).parts[0].removesuffix('.py')
    if part == '__init__':
      continue
    for name in _imports(path):
      first, _, rest = name.partition('.')
      target = rest.partition('.')[0]
      if first == 'experiments':
        yield f'{path}: {name}'
      elif first == 'eimitate' and target != part and target not in _ALLOWED[part]:
        yield f'{path}: {name}'
      elif first != 'eimitate' and part in _IO_FREE and first not in _PURE_LIBRARIES:
        yield f'{path}: {name}'


def test_every_import_points_downwards():
  assert not list(_violations(_ROOT))


def test_an_upward_import_is_found(tmp_path):
  (tmp_path / 'ops').mkdir()
  (tmp_path / 'ops' / 'bad.py').write_text('from eimitate import training\nimport os\n')
  assert len(list(_violations(tmp_path))) == 2


def test_only_one_file_imports_orbax():
  files = [path.name for path in _ROOT.rglob('*.py') if 'orbax' in set(_firsts(path))]
  assert files == ['checkpoints.py']


def test_flags_live_in_experiments_only():
  assert not [path for path in _ROOT.rglob('*.py') if 'absl' in set(_firsts(path))]


def _firsts(path):
  return (name.partition('.')[0] for name in _imports(path))


def test_importing_touches_no_device():
  # An array made on import would start the backend with one CPU device, before a run asks for more.
  modules = [
    '.'.join(path.relative_to(_ROOT.parent).with_suffix('').parts)
    for path in _ROOT.rglob('*.py')
    if path.name != '__main__.py'
  ]
  program = f"""
import importlib, jax
for module in {modules}: importlib.import_module(module)
jax.config.update('jax_num_cpu_devices', 3)
assert jax.local_device_count('cpu') == 3
"""
  subprocess.run([sys.executable, '-c', program], cwd=_ROOT.parent, check=True)
