"""Figures: what they show is checked on their data, and that they are drawn on their files."""

import json

import numpy as np
import pytest

from eimitate import evaluation
from eimitate import logs
from eimitate import training
from experiments.figures import bars
from experiments.figures import curves
from experiments.figures import diagnostics
from experiments.figures import inside
from experiments.figures import latents
from experiments.figures import search_tree
from experiments.figures import sources
from tests import test_training as training_test


def _row(agent_steps, mean, expert=100.0, repeat=4):
  row = {'agent_steps': agent_steps, 'env_steps': agent_steps * repeat, 'updates': 0}
  return row | {'eval/mean_return': mean, 'eval/fraction_of_expert': mean / expert}


def _write(folder, rows, end='\n'):
  folder.mkdir(parents=True)
  (folder / 'metrics.jsonl').write_text('\n'.join(map(json.dumps, rows)) + end)
  return str(folder)


def _load(*texts):
  return sources.load(sources.parse(texts))


def test_a_curve_by_hand(tmp_path):
  """The second seed is evaluated elsewhere and goes on for longer."""
  _write(tmp_path / 'seed_0', [_row(0, 10), _row(10, 30), _row(20, 50)])
  _write(tmp_path / 'seed_1', [_row(0, 20), _row(20, 80), _row(30, 90)])
  runs, notes = _load(f'ei={tmp_path}')
  panels, shortened = curves.data(runs)
  [panel], [curve] = panels, panels[0].curves
  assert not notes
  assert (panel.repeat, curve.label) == (4, 'ei')
  assert panel.expert_return == pytest.approx(100)
  assert curve.steps.tolist() == [0, 10, 20]
  assert curve.mean.tolist() == [15, 40, 65]
  assert curve.low.tolist() == [10, 30, 50] and curve.high.tolist() == [20, 50, 80]
  [note] = shortened
  assert 'seed_1: goes on to 30 agent steps' in note and "'ei' ends at 20" in note
  outputs = [tmp_path / 'curve.png', tmp_path / 'curve.svg']
  curves.draw(panels, outputs)
  first = outputs[1].read_bytes()
  assert b'env steps' in first and b'expert' in first and b'ei (2 seeds)' in first
  curves.draw(panels, outputs)
  assert outputs[1].read_bytes() == first


def test_the_interval_covers_as_often_as_it_says():
  rng = np.random.default_rng(0)
  low, high = curves.interval(rng.normal(size=(20, 400)))
  covered = np.mean((low < 0) & (0 < high))
  assert 0.89 < covered < 0.97
  same = curves.interval(np.ones((1, 3)))
  np.testing.assert_array_equal(same, np.ones((2, 3)))


def test_bars_by_hand(tmp_path):
  for seed, mean in enumerate((10, 20, 30, 80)):
    _write(tmp_path / f'a_{seed}', [_row(0, 0), _row(10, mean)])
  _write(tmp_path / 'b_0', [_row(10, 300, expert=200.0, repeat=2)])
  runs, _ = _load(f'cup/ei={tmp_path / "a_?"}', f'ball/ei={tmp_path / "b_0"}')
  made, notes = bars.data(runs)
  assert notes == []
  assert [(bar.panel, bar.label, len(bar.values)) for bar in made] == [
    ('cup', 'ei', 4), ('ball', 'ei', 1), (bars.ALL, 'ei', 5),
  ]  # fmt: skip
  assert made[0].iqm == pytest.approx(0.25) and made[0].low < 0.25 < made[0].high
  assert made[1].iqm == made[1].low == made[1].high == pytest.approx(1.5)
  assert made[2].iqm == pytest.approx(np.mean([0.2, 0.3, 0.8]))
  bars.draw(made, [tmp_path / 'bars.png'])
  _write(tmp_path / 'c_0', [_row(0, 0), _row(5, 70)])
  runs, _ = _load(
    f'cup/ei={tmp_path / "a_?"}', f'ball/ei={tmp_path / "b_0"}', f'cup/bc={tmp_path / "c_0"}'
  )
  some, notes = bars.data(runs)
  assert bars.ALL not in [bar.panel for bar in some]
  assert notes == [
    "panel 'cup': ends after 5 to 10 agent steps",
    "'ei' has no bar of all tasks: others lack some of its panels",
  ]
  assert (tmp_path / 'bars.png').stat().st_size > 1000


_WHOLE = [_row(0, 10), _row(10, 20)]


@pytest.mark.parametrize(
  'rows, end, message',
  [
    ([], '', 'found an empty file'),
    ([], '{"agent_st', 'found no whole line'),
    ([{'agent_steps': 1, 'env_steps': 4}], '\n', 'found no evaluation'),
    ([{'updates': 1}], '\n', 'found line 1 without agent_steps and env_steps'),
    (_WHOLE + _WHOLE, '\n', 'found mixed runs: agent_steps falls from 10 to 0'),
    (_WHOLE + [_row(20, 1, repeat=8)], '\n', 'found mixed runs: env steps per agent step'),
    (_WHOLE + [_row(20, 1, expert=7.0)], '\n', "found mixed runs: different experts' returns"),
    ([1, 2], '\n', 'found line 1 damaged'),
  ],
)
def test_a_bad_metrics_file_is_skipped_or_refused(tmp_path, rows, end, message):
  bad, good = _write(tmp_path / 'bad', rows, end), _write(tmp_path / 'good', _WHOLE)
  runs, notes = _load(bad, good)
  assert [run.source.path.name for run in runs] == ['good']
  assert [note for note in notes if 'skipped' in note and message in note]
  with pytest.raises(ValueError, match='nothing to draw .*bad/metrics.jsonl: metrics: found'):
    _load(bad)


@pytest.mark.parametrize('suffix', ['.jsonl', '.csv'])
def test_a_truncated_file_is_read_to_its_last_whole_line(tmp_path, suffix):
  path = _write(tmp_path / 'run', [*_WHOLE, _row(20, 30)])
  if suffix == '.csv':
    sources.write_csv(path, tmp_path / 'run.csv')
    path = str(tmp_path / 'run.csv')
  file = sources.metrics_path(sources.parse([path])[0].path)
  file.write_text(file.read_text()[:-3])
  [run], [note] = _load(path)
  assert run.agent_steps.tolist() == [0, 10] and 'an unfinished last line is left out' in note
  middle = file.read_text().split('\n')
  file.write_text('\n'.join([*middle[:-2], 'x' + middle[-2][5:], *_WHOLE[:0], middle[-1], '']))
  with pytest.raises(ValueError, match='line . damaged'):
    _load(path)


def test_runs_of_different_tasks_share_no_panel(tmp_path):
  one = _write(tmp_path / 'one', _WHOLE)
  for name, row in (('expert', _row(10, 20, 50.0)), ('repeat', _row(10, 20, 100.0, 2))):
    other = _write(tmp_path / name, [row])
    with pytest.raises(ValueError, match='of different tasks, in one panel, expected PANEL/LABEL'):
      _load(one, other)
    runs, _ = _load(f'a/ei={one}', f'b/ei={other}')
    assert len(curves.data(runs)[0]) == 2


def test_bars_need_an_expert(tmp_path):
  row = _row(10, 20)
  del row['eval/fraction_of_expert']
  runs, _ = _load(_write(tmp_path / 'run', [row]))
  with pytest.raises(ValueError, match='found no eval/fraction_of_expert'):
    bars.data(runs)


@pytest.fixture(name='run', scope='module')
def _run(tmp_path_factory):
  folder = tmp_path_factory.mktemp('figures')
  data = training_test.write_demonstrations(folder / 'point.npz')
  # Not a single update, whose program need not be compiled then.
  settings = {
    'updates_per_agent_step': 1e-6, 'parallel.devices': 1, 'evaluation.diagnostics': True,
  }  # fmt: skip
  training.train(training_test.small_run(data, **settings), folder / 'run')
  return folder / 'run'


@pytest.fixture(name='opened', scope='module')
def _opened(run):
  return inside.open_checkpoint(run)


def test_diagnostics_of_a_run(run, tmp_path):
  panels, notes = diagnostics.data(run)
  # There are no metrics of updates.
  assert len(panels) == 7 and len(notes) == 2
  assert "no discriminator/accuracy_, so no panel 'discriminator: what it knows'" in notes[0]
  rows = [row for row in logs.read(run / 'metrics.jsonl') if 'value/realised' in row]
  [panel] = [panel for panel in panels if 'value/realised' in panel.series]
  steps, values = panel.series['value/realised']
  assert steps.tolist() == [40, 80, 120]
  assert values.tolist() == [row['value/realised'] for row in rows]
  diagnostics.draw(panels, [tmp_path / 'diagnostics.png'])
  assert (tmp_path / 'diagnostics.png').stat().st_size > 1000
  with pytest.raises(ValueError, match='found none of these in .*expected an EfficientImitate run'):
    diagnostics.data(_write(tmp_path / 'other', _WHOLE))


def test_replay_of_a_checkpoint_in_order(opened):
  replay = inside.replay_of(opened)
  episodes = inside.episode_rows(replay)
  # Two actors, three rounds of 20 steps; the ring holds four episodes of the longest length.
  assert [len(rows) for rows in episodes] == [21] * 4
  assert int(replay.episodes) == 4 and opened.loaded.counters['episodes'] == 6
  steps = [replay.rows.observation[rows][:, 1] for rows in episodes]
  np.testing.assert_array_equal(steps, [np.arange(21)] * 4)


def test_latents_of_a_run(opened, tmp_path):
  paths = latents.data(opened)
  assert [path.label for path in paths] == [
    'demonstration',
    *(f'episode {n}' for n in (3, 4, 5, 6)),
  ]
  assert all(path.points.shape == (21, 2) for path in paths)
  assert [path.fraction for path in paths] == pytest.approx([None, 0, 1 / 3, 2 / 3, 1])
  together = np.concatenate([path.points for path in paths])
  assert np.isfinite(together).all() and together.std(0).min() > 0
  latents.draw(paths, [tmp_path / 'latents.svg'])
  assert 'episode 3' in (tmp_path / 'latents.svg').read_text()


def test_the_tree_of_a_decision(opened, tmp_path):
  tree = search_tree.data(opened, decision=7, num_simulations=20)
  assert len(tree.parent) == 21 and tree.visits[0] == 21
  for node in range(1, 21):
    children = np.flatnonzero(tree.parent == node)
    assert tree.visits[node] == 1 + tree.visits[children].sum()
    assert tree.depth[node] == tree.depth[tree.parent[node]] + 1
  assert tree.parent[tree.chosen] == 0
  first = np.flatnonzero(tree.parent == 0)
  assert tree.visits[tree.chosen] == tree.visits[first].max()
  assert (np.abs(tree.actions[first]) <= 1).all() and np.isnan(tree.actions[0]).all()
  x = search_tree.layout(tree.parent)
  leaves = np.setdiff1d(np.arange(21), tree.parent)
  assert sorted(x[leaves]) == list(range(len(leaves)))
  search_tree.draw(tree, [tmp_path / 'tree.png', tmp_path / 'tree.svg'])
  assert 'BC policy' in (tmp_path / 'tree.svg').read_text()
  with pytest.raises(ValueError, match='--decision: found 20, expected 0 to 19'):
    search_tree.data(opened, decision=20)


def test_another_version_or_agent_is_refused(run, monkeypatch):
  loaded = evaluation.load(run)
  other = loaded._replace(description=loaded.description | {'agent': 'd4pg'})
  monkeypatch.setattr(evaluation, 'load', lambda path: other)
  with pytest.raises(ValueError, match="checkpoint agent: found 'd4pg', expected 'efficient_imit"):
    inside.open_checkpoint(run)
  config = loaded.description['agent_config'] | {'new_field': 1}
  other = loaded._replace(description=loaded.description | {'agent_config': config})
  with pytest.raises(ValueError, match='new_field'):
    inside.open_checkpoint(run)
