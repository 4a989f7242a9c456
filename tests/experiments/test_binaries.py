"""Every main() runs; bad input ends in one line and a non-zero exit code, without a traceback."""

import json
import subprocess
import sys

import numpy as np
import pytest

from eimitate import configuration
from eimitate import demonstrations
from eimitate import types
from eimitate.agents import efficient_imitate
from eimitate.demonstrations import verification
from experiments import command_line
from experiments import floors
from experiments import learning_curves

_SMALL = [
  '--config.agent_steps=250',
  '--config.updates_per_agent_step=0.02',
  '--config.updates_per_call=1',
  '--config.batch_size=8',
  '--config.evaluation.episodes=1',
  '--config.search.num_simulations=4',
  '--config.search.num_actions=4',
  '--config.search.max_considered_actions=4',
  '--config.networks.dynamics=(32, 32)',
]


def _process(binary, *arguments):
  command = [sys.executable, '-m', f'experiments.{binary}', *map(str, arguments)]
  return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(name='workdir', scope='module')
def _workdir(tmp_path_factory):
  """A real process trains, as a newcomer would."""
  workdir = tmp_path_factory.mktemp('binaries') / 'run'
  result = _process('train_efficient_imitate', f'--workdir={workdir}', '--seed=3', *_SMALL)
  assert result.returncode == 0, result.stderr
  assert 'of the expert' in result.stdout
  return workdir


def test_several_seeds(tmp_path):
  small = ['--config.agent_steps=250', '--config.updates_per_agent_step=0.02', '--seeds=4,2']
  small += ['--config.updates_per_call=1', '--config.evaluation.episodes=1']
  result = _process('train_behavioural_cloning', f'--workdir={tmp_path / "run"}', *small)
  assert result.returncode == 0, result.stderr
  assert {path.name for path in (tmp_path / 'run').iterdir()} == {
    'seed_4', 'seed_2', 'learning_curves.png',
  }  # fmt: skip
  assert json.loads((tmp_path / 'run/seed_2/config.json').read_text())['seed'] == 2


def test_train_writes_what_it_says(workdir):
  assert (workdir / 'learning_curve.png').stat().st_size > 1000
  config = json.loads((workdir / 'config.json').read_text())
  assert config['task'] == 'cartpole/swingup' and config['seed'] == 3
  assert config['config']['agent_steps'] == 250
  assert config['agent_config']['search']['num_simulations'] == 4
  assert config['agent_config']['networks']['dynamics'] == [32, 32]


def test_evaluate(workdir, tmp_path):
  output = tmp_path / 'result.json'
  result = _process('evaluate', f'--checkpoint={workdir}', '--episodes=2', f'--json={output}')
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert {
    'mean_return',
    'fraction_of_expert',
    'returns',
    'task',
    'agent_steps',
    'env_steps',
  } <= set(values)
  assert values['agent_steps'] == 250 and values['env_steps'] == 2000
  assert len(values['returns']) == 2
  expert = demonstrations.load(demonstrations.shipped_path('cartpole/swingup')).take(5).mean_return
  assert values['fraction_of_expert'] == pytest.approx(values['mean_return'] / expert)


def test_a_full_disk_is_one_line(capsys):
  def main():
    raise OSError(28, 'No space left on device', 'metrics.jsonl')

  with pytest.raises(SystemExit) as ended:
    command_line._guarded(main)
  assert ended.value.code == 2
  said = "error: [Errno 28] No space left on device: 'metrics.jsonl'; the last checkpoint is kept\n"
  assert capsys.readouterr().err == said


def test_benchmark(tmp_path):
  output = tmp_path / 'benchmark.json'
  small = ['--config.batch_size=8', '--config.search.num_simulations=4', '--repeats=1']
  result = _process('benchmark', '--variant=tuned', f'--json={output}', *small)
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert {'ms_per_update', 'floor_ms', 'ratio_to_floor', 'devices'} <= set(values)
  assert values['ratio_to_floor'] == pytest.approx(values['ms_per_update'] / values['floor_ms'])


def test_benchmark_compares_in_one_run(tmp_path):
  output = tmp_path / 'benchmark.json'
  arguments = ['--what=replay', '--compare=unroll_steps=40', f'--json={output}', '--repeats=3']
  result = _process('benchmark', *arguments, f'--profile={tmp_path / "trace"}')
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert 0 < values['ratio'] < 1 and values['compare'] == 'unroll_steps=40'
  assert values['floor_ms'] > 0 and values['windows_per_second'] > 0
  assert list((tmp_path / 'trace').rglob('*.xplane.pb'))


@pytest.mark.parametrize('what', ['act', 'environment'])
def test_benchmark_of_acting(what):
  result = _process('benchmark', f'--what={what}', '--variant=tuned', '--repeats=1')
  assert result.returncode == 0, result.stderr
  assert 'per_second' in result.stdout


def test_floor_by_hand():
  config = configuration.override(
    efficient_imitate.tuned(),
    {'batch_size': 4, 'unroll_steps': 1, 'networks.latent': 5, 'networks.dynamics': (7,)}
    | {'networks.value': (), 'networks.policy': (), 'networks.discriminator': (3,)}
    | {'networks.value_bins': 11, 'search.num_actions': 2, 'search.num_simulations': 2},
  )
  # 2 rows of 3 positions: observation 24 -> 5, 2 x 5 -> 12, and 2 children: 11 -> 7 -> 5,
  # 11 -> 3 -> 1 and 5 -> 11; then the root's value 5 -> 11.
  child = 11 * 7 + 7 * 5 + 11 * 3 + 3 + 5 * 11
  expected = 2 * 6 * (24 * 5 + 2 * 5 * 12 + 2 * child + 5 * 11)
  spec = types.EnvironmentSpec(24, 6)
  assert floors.search_flops(config, spec) == expected


def test_expert_records_demonstrations_that_replay(tmp_path):
  workdir, output = tmp_path / 'expert', tmp_path / 'cup.npz'
  small = ['--config.agent_steps=250', '--config.updates_per_agent_step=0.02']
  small += ['--config.updates_per_call=1', '--config.evaluation.episodes=1']
  small += ['--config.actors.num=1', '--config.policy=(16,)', '--config.critic=(16,)']
  task = '--task=ball_in_cup/catch'
  result = _process('train_expert', task, f'--workdir={workdir}', *small)
  assert result.returncode == 0, result.stderr
  config = json.loads((workdir / 'config.json').read_text())
  assert config['agent_config']['reward_scale'] == 0.25
  assert config['config']['target_return'] == config['expert_return'] == 920.1
  checkpoint = f'--checkpoint={workdir}'
  options = ['--episodes=2', '--spread=0.01', '--seed=5']
  result = _process('record_demonstrations', checkpoint, f'--output={output}', *options)
  assert result.returncode == 0, result.stderr
  dataset = demonstrations.load(output)
  assert dataset.metadata.seed == 5 and dataset.metadata.action_repeat == 4
  first, second = (episode.states[0] for episode in dataset.episodes)
  assert np.abs(first - second).max() > 0
  for difference in verification.verify(dataset):
    assert max(difference) == 0


def test_plot_from_workdir_and_csv(workdir, tmp_path):
  csv = tmp_path / 'seed3.csv'
  learning_curves.write_csv(workdir, csv)
  sources = f'--sources={workdir},{csv}'
  result = _process('plot', sources, f'--output={tmp_path / "curve.png"}')
  assert result.returncode == 0, result.stderr
  assert (tmp_path / 'curve.png').stat().st_size > 1000
  assert learning_curves._read(csv) == learning_curves.evaluations(workdir)


@pytest.mark.parametrize(
  'binary, arguments, message',
  [
    ('train_efficient_imitate', ['--task=cartpole/swngup'], "task: found 'cartpole/swngup'"),
    ('train_efficient_imitate', ['--config.serach.kind=mctx'], 'serach'),
    ('train_efficient_imitate', ['--config.search.num_simulations=many'], 'many'),
    ('train_efficient_imitate', ['--config.networks.dynamics=wide'], 'wide'),
    ('train_efficient_imitate', ['--variant=best'], "--variant: found 'best', expected tuned"),
    ('train_efficient_imitate', ['--preset=smell'], "--preset: found 'smell', expected state"),
    ('train_efficient_imitate', ['--config.action_repeat=4'], 'action repeat: found 4'),
    ('train_efficient_imitate', ['--config.frame_size=-1'], 'config.frame_size: found -1'),
    ('train_behavioural_cloning', ['--preset=image'], "--preset: found 'image', expected state"),
    ('train_efficient_imitate', ['--seed=-1'], 'seed'),
    ('train_efficient_imitate', ['--seeds=1,1'], '--seeds: found 1,1, expected different numbers'),
    ('train_efficient_imitate', ['cartpole/swingup'], 'command line: found cartpole/swingup'),
    ('train_expert', ['--task=cartpole/swngup'], "task: found 'cartpole/swngup'"),
    ('train_expert', ['--config.n_step=0'], 'config.n_step: found 0'),
    (
      'train_behavioural_cloning',
      ['--config.num_demonstrations=0'],
      'config.num_demonstrations: found 0, expected 1 to 20 episodes',
    ),
    ('record_demonstrations', ['--output=x'], "--output: found 'x', expected a name.npz"),
    ('evaluate', ['--checkpoint=/nonexistent'], 'checkpoint: found no checkpoint in /nonexistent'),
    ('plot', ['--output=x.png'], '--sources: found none, expected at least one'),
    ('plot', ['--sources=/none', '--output=x.png'], 'plot: found no /none/metrics.jsonl'),
    ('benchmark', ['--what=everything'], "--what: found 'everything', expected update"),
    ('benchmark', ['--compare=search.kind'], "--compare: found 'search.kind', expected FIELD"),
    ('benchmark', ['--compare=search.knid=mctx'], 'config.search.knid'),
    ('benchmark', ['--compare=parallel.devices=1'], 'config.parallel.devices'),
  ],
)
def test_bad_input_is_one_line(binary, arguments, message, tmp_path):
  workdir = tmp_path / 'run'
  extra = [f'--workdir={workdir}'] if binary.startswith('train') else []
  result = _process(binary, *arguments, *extra)
  lines = [line for line in result.stderr.splitlines() if line.strip()]
  assert result.returncode == 2
  assert len(lines) == 1 and lines[0].startswith('error: ') and message in lines[0], result.stderr
  assert not workdir.exists()
