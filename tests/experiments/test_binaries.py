"""Every main() runs; bad input ends in one line and a non-zero exit code, without a traceback."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from eimitate import checkpoints as checkpoints_lib
from eimitate import demonstrations
from eimitate import errors
from eimitate import evaluation
from eimitate import logs
from eimitate.demonstrations import verification
from experiments import command_line
from experiments import evaluate
from experiments.figures import film_strip
from experiments.figures import sources
from tests.experiments import programs
from tests.experiments import test_notebooks as notebooks_test

_SMALL = [
  '--config.agent_steps=250',
  '--config.updates_per_agent_step=0.02',
  '--config.updates_per_call=1',
  '--config.batch_size=8',
  '--config.evaluation.episodes=1',
  '--config.evaluation.diagnostics=False',
  '--config.search.num_simulations=4',
  '--config.search.num_actions=4',
  '--config.search.max_considered_actions=4',
  '--config.search.num_sequences=16',
  '--config.search.num_elites=4',
  '--config.networks.dynamics=(32, 32)',
  '--config.networks.policy=(32,)',
]


@pytest.fixture(name='workdir', scope='module')
def _workdir(tmp_path_factory):
  """A real process trains, as a newcomer would."""
  workdir = tmp_path_factory.mktemp('binaries') / 'run'
  command = [sys.executable, '-m', 'experiments.train_efficient_imitate', f'--workdir={workdir}']
  command += ['--seed=3', *_SMALL]
  result = subprocess.run(command, capture_output=True, text=True, check=False)
  assert result.returncode == 0, result.stderr
  assert 'of the expert' in result.stdout
  bar = result.stderr.splitlines()[-1].split('\r')[-1]  # tqdm's.
  for shown in ('250/250', 'return=', 'of_expert=', 'env_steps=2000', 'updates/s='):
    assert shown in bar, bar
  return workdir


def test_several_seeds(tmp_path):
  small = ['--config.agent_steps=250', '--config.updates_per_agent_step=0.02', '--seeds=4,2']
  small += ['--config.updates_per_call=1', '--config.evaluation.episodes=1']
  result = programs.run('train_behavioural_cloning', f'--workdir={tmp_path / "run"}', *small)
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
  output, step = tmp_path / 'result.json', workdir / 'checkpoints' / '250'
  checkpoints = f'--checkpoint={workdir},{step}'
  result = programs.run('evaluate', checkpoints, '--episodes=2', f'--json={output}')
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert values['task'] == 'cartpole/swingup' and values['episodes'] == 4
  first, second = values['runs']
  for shown in (values, first):  # The same names for one run and for all of them.
    assert shown['agent_steps'] == 250 and shown['env_steps'] == 2000
    assert shown['mean_return'] == pytest.approx(np.mean(shown['returns']))
    assert shown['fraction_of_expert'] == pytest.approx(
      shown['mean_return'] / values['expert_return']
    )
  assert values['returns'] == first['returns'] + second['returns']
  assert first['agent_steps'] == 250 and first['env_steps'] == 2000 and first['seed'] == 3
  assert first['returns'] == second['returns'] and len(first['returns']) == 2
  table = values['table']
  assert table['return']['mean'] == pytest.approx(first['mean_return'])
  expert = demonstrations.load(demonstrations.shipped_path('cartpole/swingup')).take(5).mean_return
  for name, value in table['return'].items():
    assert table['fraction_of_expert'][name] == pytest.approx(value / expert)
    assert name in result.stdout


def test_checkpoints_after_other_numbers_of_steps_are_said(capsys):
  evaluate.say_lengths([{'agent_steps': 250}, {'agent_steps': 250}])
  assert not capsys.readouterr().err
  evaluate.say_lengths([{'agent_steps': 250}, {'agent_steps': 125}])
  assert 'note: checkpoints after 250, 125 agent steps' in capsys.readouterr().err


def test_the_results_have_the_same_fields_whatever_the_expert_is_worth():
  run = {'returns': [1.0, 3.0], 'failed_episodes': 0, **dict.fromkeys(logs.COUNTERS, 5)}
  for expert, fraction in ((4.0, 0.5), (0.0, None), (-1.0, None)):
    values = evaluate.summarise([run], evaluation.table([run['returns']], expert))
    assert values['mean_return'] == 2 and values['fraction_of_expert'] == fraction
    assert set(values['table']) == {'return', 'fraction_of_expert'}


def test_evaluate_refuses_checkpoints_of_different_tasks():
  fields = {'agent': 'd4pg', 'action_repeat': 4, 'expert_return': 1.0}
  load = lambda task: evaluation.Loaded(lambda *_: None, {}, {'task': task, **fields}, {})
  with pytest.raises(ValueError, match='checkpoint task of b: found y, expected x, as of a'):
    evaluate._evaluate({'a': load('x'), 'b': load('y')})


@pytest.mark.gl
def test_a_video_beside_a_demonstration(workdir, tmp_path):
  import imageio_ffmpeg

  output = tmp_path / 'shown.mp4'
  flags = ['--episodes=1', f'--video={output}', '--speed=2']
  result = programs.run('evaluate', f'--checkpoint={workdir}', *flags)
  assert result.returncode == 0 and not result.stderr, result.stderr
  decode = [
    imageio_ffmpeg.get_ffmpeg_exe(),
    '-i',
    output,
    '-f',
    'rawvideo',
    '-pix_fmt',
    'rgb24',
    '-',
  ]
  decoded = subprocess.run(decode, capture_output=True, check=True)
  frames = np.frombuffer(decoded.stdout, np.uint8).reshape(-1, 240, 480, 3)
  assert len(frames) == 126
  assert b' 25 fps' in decoded.stderr  # A step of the task takes 0.08 s.
  still, moving = frames[0].astype(float), frames[60].astype(float)
  left, right = (np.abs(still - moving)[:, half].max() for half in (slice(240), slice(240, 480)))
  assert left > 50 and right > 50
  assert [path.name for path in tmp_path.iterdir()] == ['shown.mp4']


@pytest.mark.gl
def test_a_film_strip(workdir, tmp_path):
  arguments = [f'--sources={workdir}', f'--output={tmp_path / "strip.png"}']
  result = programs.run('plot', '--figure=film_strip', *arguments)
  assert result.returncode == 0 and not result.stderr, result.stderr
  assert (tmp_path / 'strip.png').stat().st_size > 10_000
  frames = [np.full((2, 2, 3), t, np.uint8) for t in range(101)]
  assert [frame[0, 0, 0] for frame in film_strip.spaced(frames, 5)] == [0, 25, 50, 75, 100]


@pytest.mark.gl
def test_the_notebook_that_watches_a_checkpoint(workdir, tmp_path, monkeypatch):
  names = {'CHECKPOINT': str(workdir), 'EPISODES': '1', 'VIDEO': str(tmp_path / 'shown.mp4')}
  environment = {f'NOTEBOOK_{name}': value for name, value in names.items()}
  shown = notebooks_test.run('watch_a_checkpoint', environment, tmp_path, monkeypatch)
  assert 'data:video/mp4;base64' in shown and 'image/png' in shown
  assert '250 agent steps: return' in shown


def test_a_full_disk_is_one_line(capsys):
  def main():
    raise OSError(28, 'No space left on device', 'metrics.jsonl')

  with pytest.raises(SystemExit) as ended:
    command_line._guarded(main)
  assert ended.value.code == 2
  said = "error: [Errno 28] No space left on device: 'metrics.jsonl'; the last checkpoint is kept\n"
  assert capsys.readouterr().err == said


@pytest.mark.parametrize(
  ('error', 'said'),
  [
    (errors.InputError('field: found a\nb,\n expected c'), 'field: found a b, expected c'),
    (
      errors.EnvironmentsFailed('every environment failed before a step'),
      'every environment failed before a step; the last checkpoint is kept',
    ),
  ],
)
def test_what_is_wrong_is_one_line(error, said, capsys):
  def main():
    raise error

  with pytest.raises(SystemExit) as ended:
    command_line._guarded(main)
  assert ended.value.code == 2
  assert capsys.readouterr().err == f'error: {said}\n'


def test_a_lost_device_is_one_line(capsys):
  def main():
    raise jax.errors.JaxRuntimeError('INTERNAL: CUDA error: device lost\n in stream 3')

  with pytest.raises(SystemExit) as ended:
    command_line._guarded(main)
  assert ended.value.code == 2
  said = (
    'error: device: INTERNAL: CUDA error: device lost in stream 3; the last checkpoint is kept\n'
  )
  assert capsys.readouterr().err == said


def test_expert_records_demonstrations_that_replay(tmp_path):
  workdir, output = tmp_path / 'expert', tmp_path / 'cup.npz'
  small = ['--config.agent_steps=250', '--config.updates_per_agent_step=0.02']
  small += ['--config.updates_per_call=1', '--config.evaluation.episodes=1']
  small += ['--config.actors.num=1', '--config.policy=(16,)', '--config.critic=(16,)']
  task = '--task=ball_in_cup/catch'
  result = programs.run('train_expert', task, f'--workdir={workdir}', *small)
  assert result.returncode == 0, result.stderr
  config = json.loads((workdir / 'config.json').read_text())
  assert config['agent_config']['reward_scale'] == 0.25
  assert config['config']['target_return'] == config['expert_return'] == 920.1
  # A later step, worse and without a policy.
  kept = checkpoints_lib.Checkpoints(workdir)
  arrays = {name: {'x': np.ones(1)} for name in ('params', 'learner', 'replay')}
  kept.save(500, arrays, kept.restore_texts(250), -1.0)
  kept.close()
  checkpoint = f'--checkpoint={workdir}'
  options = ['--best', '--episodes=2', '--spread=0.01', '--seed=5']
  result = programs.run('record_demonstrations', checkpoint, f'--output={output}', *options)
  assert result.returncode == 0, result.stderr
  dataset = demonstrations.load(output)
  assert dataset.metadata.seed == 5 and dataset.metadata.action_repeat == 4
  first, second = (episode.states[0] for episode in dataset.episodes)
  assert np.abs(first - second).max() > 0
  for difference in verification.verify(dataset):
    assert max(difference) == 0


def test_plot_from_workdir_and_csv(workdir, tmp_path):
  csv = tmp_path / 'run_3.csv'
  sources.write_csv(workdir, csv)
  texts, output = f'--sources=cartpole={workdir},cartpole={csv}', tmp_path / 'curve'
  result = programs.run('plot', texts, f'--output={output}.png,{output}.svg')
  assert result.returncode == 0 and not result.stderr, result.stderr
  assert (tmp_path / 'curve.png').stat().st_size > 1000
  assert 'cartpole (2 seeds)' in (tmp_path / 'curve.svg').read_text()
  runs, notes = sources.load(sources.parse([str(workdir), str(csv)]))
  assert not notes and [run.source.label for run in runs] == ['run', 'run']
  for first, second in zip(*(run[1:] for run in runs)):
    np.testing.assert_array_equal(first, second)


def test_plot_says_what_it_skips(workdir, tmp_path):
  (tmp_path / 'bad').mkdir()
  (tmp_path / 'bad' / 'metrics.jsonl').write_text('')
  texts = f'--sources={workdir},{tmp_path / "bad"}'
  result = programs.run('plot', texts, f'--output={tmp_path / "curve.png"}')
  assert result.returncode == 0
  path = tmp_path / 'bad' / 'metrics.jsonl'
  said = f'note: skipped {path}: metrics: found an empty file, expected at least one line\n'
  assert result.stderr == said


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
    (
      'train_behavioural_cloning',
      ['--seed=1', '--seeds=2'],
      '--seed: found 1, expected none with --seeds',
    ),
    ('train_efficient_imitate', ['cartpole/swingup'], 'command line: found cartpole/swingup'),
    ('train_expert', ['--task=cartpole/swngup'], "task: found 'cartpole/swngup'"),
    ('train_expert', ['--config.n_step=0'], 'config.n_step: found 0'),
    (
      'train_behavioural_cloning',
      ['--config.num_demonstrations=0'],
      'config.num_demonstrations: found 0, expected 1 to 20 episodes',
    ),
    ('record_demonstrations', ['--output=x.npz'], '--checkpoint: found none, expected one, or'),
    ('record_demonstrations', ['--output=x'], "--output: found 'x', expected a name.npz"),
    ('evaluate', ['--checkpoint=/nonexistent'], 'checkpoint: found no checkpoint in /nonexistent'),
    ('evaluate', [], '--checkpoint: found none, expected at least one'),
    (
      'evaluate',
      ['--checkpoint=x', '--video=x.avi'],
      "--video: found 'x.avi', expected a name.mp4",
    ),
    ('plot', ['--output=x.png'], '--sources: found none, expected at least one'),
    ('plot', ['--sources=/none', '--output=x.png'], '--sources: found no /none/metrics.jsonl'),
    ('plot', ['--sources=/none', '--output=x.gif'], "--output: found 'x.gif', expected a name.png"),
    ('plot', ['--sources=x', '--output=x.png', '--figure=pie'], "--figure: found 'pie', expected"),
    ('plot', ['--sources=/none', '--output=x.png', '--figure=latents'], 'checkpoint: found no'),
    (
      'train_behavioural_cloning',
      ['--config.parallel.devices=4096'],
      'config.parallel.devices: found 4096, expected 1 to ',
    ),
    ('train_efficient_imitate', ['--seed=4294967296'], '--seed'),
    ('benchmark', ['--what=everything'], "--what: found 'everything', expected update"),
    ('benchmark', ['--compare=search.kind'], "--compare: found 'search.kind', expected FIELD"),
    ('benchmark', ['--compare=search.knid=mctx'], 'config.search.knid'),
  ],
)
def test_bad_input_is_one_line(binary, arguments, message, tmp_path):
  workdir = tmp_path / 'run'
  extra = [f'--workdir={workdir}'] if binary.startswith('train') else []
  result = programs.run(binary, *arguments, *extra)
  lines = [line for line in result.stderr.splitlines() if line.strip()]
  assert result.returncode == 2
  assert len(lines) == 1 and lines[0].startswith('error: ') and message in lines[0], result.stderr
  assert not workdir.exists()


def test_vision_shows_and_times_a_small_network(tmp_path):
  small = ['--config.tower.channels=(4,)', '--config.tower.blocks=0', '--config.batch_size=2']
  small += ['--config.frame_size=16', '--config.policy=(8,)', '--config.critic=(8,)']
  output = tmp_path / 'vision.json'
  result = programs.run('vision', '--updates=1', f'--json={output}', *small)
  assert result.returncode == 0, result.stderr
  assert 'policy/tower/Conv_0/kernel' in result.stdout
  values = json.loads(output.read_text())
  assert values['seconds_per_update'] > 0 and values['peak_gib'] > 0.1
  # A convolution, two normalisations, and dense layers to 256, 8 and 9.
  assert values['policy_parameters'] == 112 + 8 + 8 * 8 * 4 * 256 + 256 + 512 + 2056 + 16 + 81


def test_vision_times_both_learners_of_metamimic(tmp_path):
  small = ['--config.frame_size=16']
  for learner in ('imitation', 'task'):
    settings = (
      'tower.channels=(4,)',
      'tower.blocks=0',
      'batch_size=2',
      'policy=(8,)',
      'critic=(8,)',
    )
    small += [f'--config.{learner}.{setting}' for setting in settings]
  output = tmp_path / 'vision.json'
  result = programs.run('vision', '--agent=metamimic', '--updates=1', f'--json={output}', *small)
  assert result.returncode == 0, result.stderr
  values = json.loads(output.read_text())
  assert values['seconds_per_update'] > 0 and values['frame_bytes'] == 16 * 16 * 6
  # Four 3 x 3 kernels over a goal's three channels.
  more = values['imitation_policy_parameters'] - values['task_policy_parameters']
  assert more == 4 * 3 * 3 * 3
  refused = programs.run('vision', '--agent=metamimic', '--frames=2')
  assert refused.returncode == 2 and '--frames: found 2, expected 1' in refused.stderr


@pytest.mark.gl
def test_a_replay_of_frames_that_does_not_fit_is_refused(tmp_path):
  options = ['--task=jaco/stack', '--preset=image', '--config.replay.episodes=3000000']
  result = programs.run('train_expert', f'--workdir={tmp_path / "run"}', *options)
  assert 'found 3000000, a replay of 41377.27 GiB' in result.stderr
  assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
  assert not (tmp_path / 'run').exists()
