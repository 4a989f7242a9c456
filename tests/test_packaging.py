"""A wheel holds all that an installed library needs."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import eimitate

_ROOT = pathlib.Path(eimitate.__file__).parents[1]


def test_a_wheel_carries_the_demonstrations(tmp_path):
  source = tmp_path / 'source'
  source.mkdir()
  for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(_ROOT / name, source)
  for package in ('eimitate', 'experiments'):
    ignored = shutil.ignore_patterns('__pycache__', 'results', 'runs')
    shutil.copytree(_ROOT / package, source / package, ignore=ignored)
  command = [
    sys.executable,
    '-m',
    'pip',
    'wheel',
    '--quiet',
    '--no-deps',
    f'--wheel-dir={tmp_path}',
  ]
  subprocess.run([*command, str(source)], check=True)
  [wheel] = tmp_path.glob('eimitate-*.whl')
  packed = set(zipfile.ZipFile(wheel).namelist())
  wanted = [*(_ROOT / 'eimitate').rglob('*.py'), *(_ROOT / 'eimitate').rglob('data/*.npz')]
  assert len(wanted) > 50
  assert not {str(path.relative_to(_ROOT)) for path in wanted} - packed
  assert 'experiments/train_efficient_imitate.py' in packed
