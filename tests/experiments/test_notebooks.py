"""Notebooks run as they are, on tiny settings, in a kernel of their own."""

import pathlib

import jupytext
import nbclient
import nbformat
import pytest

import experiments

_ROOT = pathlib.Path(experiments.__file__).parents[1]
_FOLDER = _ROOT / 'experiments' / 'notebooks'
_NAMES = sorted(path.stem for path in _FOLDER.glob('*.py'))
_TINY = {
  'build_an_agent': {'NOTEBOOK_UPDATES': '2'},
  'inside_one_search': {'NOTEBOOK_SIMULATIONS': '8'},
  'one_shot_imitation': {'NOTEBOOK_AGENT_STEPS': '100', 'NOTEBOOK_EPISODES': '6'},
  'your_own_task': {'NOTEBOOK_AGENT_STEPS': '60'},
}


def run(name, environment, folder, monkeypatch):
  """Everything that a notebook prints and shows, with `folder` as its working directory."""
  for variable, value in environment.items():
    monkeypatch.setenv(variable, value)
  monkeypatch.setenv('PYTHONPATH', str(_ROOT))
  notebook = nbformat.read(_FOLDER / f'{name}.ipynb', as_version=4)
  nbclient.NotebookClient(notebook, resources={'metadata': {'path': str(folder)}}).execute()
  return '\n'.join(str(output) for cell in notebook.cells for output in cell.get('outputs', []))


@pytest.mark.parametrize('name', _NAMES)
def test_both_halves_of_a_pair_are_the_same(name):
  text = jupytext.read(_FOLDER / f'{name}.py')
  notebook = nbformat.read(_FOLDER / f'{name}.ipynb', as_version=4)
  cells = lambda x: [(cell.cell_type, cell.source) for cell in x.cells]
  assert cells(text) == cells(notebook)
  assert not any(cell.get('outputs') for cell in notebook.cells)


@pytest.mark.parametrize(
  'name, shown',
  [
    ('build_an_agent', 'gradient/policy'),
    ('inside_one_search', 'image/png'),
    ('one_shot_imitation', 'imitates 1 unseen demonstrations'),
    ('your_own_task', '60 agent steps'),
  ],
)
def test_a_notebook_runs(name, shown, monkeypatch, tmp_path):
  assert shown in run(name, _TINY[name], tmp_path, monkeypatch)
