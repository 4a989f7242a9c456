"""Figures: what they show is checked on their data, and that they are drawn on their files."""

import json
import pathlib

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
from experiments.figures import table
from tests import test_training as training_test
from tests.experiments import programs


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
  assert curve.x.tolist() == [0, 10, 20]
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


def _time(folder, calls, end='\n'):
  """Writes timing.jsonl: agent steps, updates, metric and value of each line."""
  rows = [
    {'agent_steps': steps, 'env_steps': 4 * steps, 'updates': updates, f'time/{name}': value}
    for steps, updates, name, value in calls
  ]
  (pathlib.Path(folder) / 'timing.jsonl').write_text('\n'.join(map(json.dumps, rows)) + end)


_CALLS = [
  (0, 0, 'evaluation_seconds', 2.0),
  (10, 0, 'collect_seconds', 3.0),
  (10, 50, 'updates_per_second', 25.0),  # 2 s.
  (10, 100, 'updates_per_second', 50.0),  # 1 s.
  (10, 100, 'evaluation_seconds', 4.0),
]


def test_wall_time_by_hand(tmp_path):
  """The second run was killed after its second evaluation, and went on from agent step 0."""
  _write(tmp_path / 'seed_0', [_row(0, 10), _row(10, 30)])
  _time(tmp_path / 'seed_0', _CALLS)
  _write(tmp_path / 'seed_1', [_row(0, 10), _row(10, 30)])
  _time(tmp_path / 'seed_1', _CALLS + _CALLS[1:])
  runs, notes = _load(f'ei={tmp_path}')
  assert not notes
  assert [run.seconds.tolist() for run in runs] == [[2, 12], [2, 22]]
  [panel], [note] = curves.data(runs, 'seconds')
  [curve] = panel.curves
  assert curve.x.tolist() == [2, 12]
  assert curve.mean.tolist() == [10, (30 + 20) / 2]
  assert 'seed_1: goes on to 22 seconds of wall time' in note and "'ei' ends at 12" in note
  curves.draw([panel], [tmp_path / 'seconds.svg'])
  drawn = (tmp_path / 'seconds.svg').read_text()
  assert 'seconds of wall time' in drawn and 'env steps' not in drawn


def test_a_curve_along_either_steps(tmp_path):
  runs, _ = _load(_write(tmp_path / 'run', [_row(0, 10), _row(10, 30)]))
  for x, places, label in (('agent_steps', [0, 10], 'agent'), ('env_steps', [0, 40], 'env')):
    panels, notes = curves.data(runs, x)
    assert panels[0].curves[0].x.tolist() == places and not notes
    curves.draw(panels, [tmp_path / 'curve.svg'])
    drawn = (tmp_path / 'curve.svg').read_text()
    assert [f'{unit} steps' in drawn for unit in ('agent', 'env')] == [
      label == unit for unit in ('agent', 'env')
    ]


def test_seconds_in_csv_files(tmp_path):
  """With wall time, without, and a file that was written before there was such a column."""
  timed = _write(tmp_path / 'timed', [_row(0, 10), _row(10, 30), _row(20, 40)])
  _time(timed, _CALLS)
  untimed = _write(tmp_path / 'untimed', [_row(0, 10)])
  for path in (timed, untimed):
    assert sources.write_csv(path, f'{path}.csv') == []
  header, *lines = pathlib.Path(f'{timed}.csv').read_text().splitlines()
  assert header.endswith(',eval/fraction_of_expert,seconds')
  assert [line.rpartition(',')[2] for line in lines] == ['2.0', '12.0', '']
  header, line = pathlib.Path(f'{untimed}.csv').read_text().splitlines()
  assert header.endswith(',seconds') and line.endswith(',')
  (tmp_path / 'old.csv').write_text('\n'.join(x.rpartition(',')[0] for x in (header, line, '')))
  runs, notes = _load(*(str(tmp_path / f'{name}.csv') for name in ('timed', 'untimed', 'old')))
  assert not notes
  np.testing.assert_array_equal(runs[0].seconds, [2, 12, np.nan])
  np.testing.assert_array_equal([run.seconds[0] for run in runs[1:]], [np.nan] * 2)
  sources.write_csv(f'{timed}.csv', tmp_path / 'again.csv')
  [again], _ = _load(str(tmp_path / 'again.csv'))
  np.testing.assert_array_equal(again.seconds, runs[0].seconds)


def test_runs_without_wall_time_are_skipped_or_refused(tmp_path):
  whole, cut, none, later = (
    _write(tmp_path / name, [_row(0, 10), _row(10, 30)]) for name in ('whole', 'cut', 'no', 'later')
  )
  _time(whole, _CALLS)
  _time(cut, _CALLS, end='')
  _time(later, _CALLS[1:])  # The file's first lines are missing, so nothing is known.
  runs, [unfinished] = _load(f'ei={whole}', f'ei={cut}', f'ei={none}', f'ei={later}')
  assert 'cut/timing.jsonl: an unfinished last line is left out' in unfinished
  np.testing.assert_array_equal(runs[1].seconds, [2, np.nan])
  [panel], notes = curves.data(runs, 'seconds')
  assert len(panel.curves[0].seeds) == 1
  assert [note.partition(':')[0] for note in notes] == [f'skipped {x}' for x in (cut, none, later)]
  assert 'seconds: found none, expected a whole timing.jsonl' in notes[0]
  with pytest.raises(ValueError, match='--x: found seconds, which no run has, expected agent_st'):
    curves.data(runs[1:], 'seconds')


def test_damaged_times_leave_a_run_without(tmp_path):
  path = _write(tmp_path / 'run', _WHOLE)
  (tmp_path / 'run' / 'timing.jsonl').write_text('{"agent_st{}\n')
  [run], notes = _load(path)
  assert np.isnan(run.seconds).all() and run.returns.tolist() == [10, 20]
  said = f'{path}: no wall time: timing: found line 1 damaged, expected a JSON object'
  assert notes == sources.write_csv(path, tmp_path / 'run.csv') == [said]


def test_a_table_by_hand(tmp_path, capsys):
  """Cup's seeds reach 0.9 after 20 and 10 agent steps, and never; walker has another expert."""
  for seed, means in enumerate(((0, 50, 95), (0, 92, 80, 60), (0, 10, 40))):
    folder = _write(tmp_path / f'cup_{seed}', [_row(10 * i, mean) for i, mean in enumerate(means)])
    if seed < 2:
      _time(folder, [(10 * i, 0, 'evaluation_seconds', 1.0 + seed) for i in range(len(means))])
  _write(tmp_path / 'walker_0', [_row(0, 10, expert=50.0, repeat=2)])
  _write(tmp_path / 'empty_0', [], end='')
  texts = [f'cup={tmp_path}/cup_?', f'a/walker|x={tmp_path}/walker_0', f'cup={tmp_path}/empty_0']
  runs, skipped = sources.load(table.by_row(sources.parse(texts)))
  rows, notes = table.data(runs)
  assert len(skipped) == 1 and 'empty_0/metrics.jsonl: metrics: found an empty file' in skipped[0]
  assert notes == [
    "panel 'cup': ends after 20 to 30 agent steps",
    "'cup': the wall time of 2 of 3 seeds is known",
  ]
  cup, _ = rows
  # A quarter of three is no whole run: the mean of 0.95, 0.6 and 0.4.
  assert cup.last.iqm == pytest.approx(0.65)
  assert (cup.last.low, cup.last.high) == pytest.approx((0.4, 0.95))
  assert cup.best == pytest.approx((0.95 + 0.92 + 0.4) / 3)
  assert (cup.reached, cup.agent_steps, cup.env_steps) == (2, 15, 60)
  assert cup.seconds == (3 * 1 + 4 * 2) / 2
  table.write(rows, [tmp_path / 'table.md'])
  assert not capsys.readouterr().out
  table.write(rows, [])
  printed = capsys.readouterr().out
  assert printed == (tmp_path / 'table.md').read_text()
  assert printed.splitlines()[2:] == [
    '| cup | 3 | 0.65 [0.40, 0.95] | 0.76 | 60 | 15 | 2 of 3 | 6 |',
    r'| a/walker\|x | 1 | 0.20 | 0.20 | - | - | 0 of 1 | - |',
  ]


def test_a_table_is_printed_without_an_output(tmp_path):
  path = _write(tmp_path / 'run', [_row(0, 0), _row(10, 50)], end='\n{')
  result = programs.run('plot', '--figure=table', f'--sources=ei={path}')
  assert result.stdout.splitlines()[2] == '| ei | 1 | 0.50 | 0.50 | - | - | 0 of 1 | - |'
  said = f'note: {path}/metrics.jsonl: an unfinished last line is left out\n'
  assert (result.returncode, result.stderr) == (0, said)


def test_a_run_that_never_returned_anything_has_its_panels_expert(tmp_path):
  _write(tmp_path / 'seed_0', [_row(0, 0), _row(10, 0)])
  _write(tmp_path / 'seed_1', [_row(0, 0), _row(10, 50)])
  runs, _ = _load(f'ei={tmp_path}')
  assert [run.expert_return for run in runs] == [100.0, 100.0]
  [row], _ = table.data(sources.load(table.by_row(sources.parse([f'ei={tmp_path}'])))[0])
  assert row.last.values.tolist() == [0.0, 0.5]


def test_rows_of_a_table_are_of_one_task_each(tmp_path):
  one = _write(tmp_path / 'one', [_row(10, 20)])
  other = _write(tmp_path / 'other', [_row(10, 20, expert=50.0)])
  with pytest.raises(ValueError, match='of different tasks, in one panel'):
    sources.load(table.by_row(sources.parse([f'ei={one}', f'ei={other}'])))


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--x=hours', '--output=x.png'], "--x: found 'hours', expected agent_steps or env_steps or s"),
    (['--x=seconds', '--figure=table'], '--x: found --figure=table, expected --figure=curves'),
    (['--figure=table', '--output=x.png'], "--output: found 'x.png', expected a name.md"),
  ],
)
def test_bad_flags_are_one_line(arguments, message):
  result = programs.run('plot', '--sources=x', *arguments)
  assert result.returncode == 2
  assert message in result.stderr and result.stderr.count('\n') == 1


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


def test_a_run_that_is_named_twice_is_one_seed(tmp_path):
  path = _write(tmp_path / 'run', _WHOLE)
  twice = sources.parse([f'a={path}', f'a={tmp_path}/../{tmp_path.name}/run', f'b={path}'])
  runs, notes = sources.load(twice)
  assert [run.source.label for run in runs] == ['a', 'b']
  assert '1 sources left out that are given more than once' in notes


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
