"""MetaMimic's binaries, from the shipped demonstrations to a film of one imitated."""

import json

import pytest

from eimitate import demonstrations
from tests.experiments import programs

_TINY = [
  *('--config.agent_steps=300', '--config.actors.num=3', '--config.parallel.devices=1'),
  *('--config.imitation.batch_size=8', '--config.task.batch_size=8', '--config.updates_per_call=1'),
  *('--config.updates_per_agent_step=0.02', '--config.evaluation.interval=300'),
  *('--config.evaluation.episodes=1', '--config.tracking.evaluated=2'),
]


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  path = tmp_path_factory.mktemp('metamimic') / 'run'
  named = ['--task=ball_in_cup/catch', '--seed=0', f'--workdir={path}']
  result = programs.run('train_metamimic', *named, *_TINY)
  assert result.returncode == 0, result.stderr
  return path


@pytest.mark.gl
def test_unseen_demonstrations_are_imitated_and_filmed(workdir, tmp_path):
  output, shipped = tmp_path / 'result.json', demonstrations.shipped_path('ball_in_cup/catch')
  arguments = [f'--checkpoint={workdir}', f'--demonstrations={shipped}', f'--json={output}']
  arguments += ['--episodes=1', f'--video={tmp_path / "film.mp4"}']
  result = programs.run('evaluate', *arguments)
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert values['demonstrations'] == 1  # Of twenty, eighteen were learnt from.
  fractions = {'imitation_fraction', 'task_fraction'}
  baselines = values['baselines']
  assert set(baselines) == {'zero_action', 'noisy_replay', 'analytic_tracker'}
  assert all(fractions <= set(shown) for shown in (values, *baselines.values()))
  assert (tmp_path / 'film.mp4').stat().st_size > 10_000


def test_the_task_policy_is_evaluated_and_recorded(workdir, tmp_path):
  output, recorded = tmp_path / 'result.json', tmp_path / 'recorded.npz'
  evaluated = programs.run(
    'evaluate', f'--checkpoint={workdir}', '--episodes=2', f'--json={output}'
  )
  assert evaluated.returncode == 0, evaluated.stderr
  values = json.loads(output.read_text())
  shipped = demonstrations.load(demonstrations.shipped_path('ball_in_cup/catch'))
  assert values['expert_return'] == shipped.take(18).mean_return
  assert values['fraction_of_expert'] == values['mean_return'] / values['expert_return']
  arguments = [f'--checkpoint={workdir}', f'--output={recorded}', '--episodes=2']
  result = programs.run('record_demonstrations', *arguments)
  assert result.returncode == 0, result.stderr
  dataset = demonstrations.load(recorded)
  assert dataset.episodes[0].trajectory.observations.shape[1] == 8  # Without goals.
