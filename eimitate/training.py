"""The loop, one for all agents: collect -> push -> update -> log -> evaluate -> checkpoint."""

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
import time
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from eimitate import acting
from eimitate import checkpoints as checkpoints_lib
from eimitate import configuration
from eimitate import environments as environments_lib
from eimitate import errors
from eimitate import evaluation
from eimitate import logs
from eimitate import parallel
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.replay import episodes


@dataclasses.dataclass(frozen=True)
class ActorsConfig:
  """num: environments acted on in one batch.

  temperatures: of the search's action while collecting, from each fraction of the run on.
  """

  num: int = 2
  temperatures: tuple[float, ...] = (1.0, 0.5, 0.25)
  fractions: tuple[float, ...] = (0.0, 0.5, 0.75)


@dataclasses.dataclass(frozen=True)
class ReplayConfig:
  """episodes: capacity, in episodes as long as the longest demonstration."""

  episodes: int = 400


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
  """episodes: greedy ones per evaluation; interval: agent steps between evaluations."""

  episodes: int = 5
  interval: int = 500


@dataclasses.dataclass(frozen=True)
class CheckpointsConfig:
  """interval: agent steps between checkpoints; keep: how many of the latest stay."""

  interval: int = 500
  keep: int = 2


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
  """devices: to learn on, 0 for as many as divide the half batch."""

  devices: int = 0


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything of a run that is not the agent's.

  agent_steps: length of the run.
  updates_per_agent_step: gradient updates for every action taken.
  updates_per_call: updates in one compiled call.
  num_demonstrations: the first so many episodes are learnt from.
  demonstrations: path of a dataset; empty for the one shipped for the task.
  environment: `module:function` that makes a dm_env environment; empty for the dm_control suite.
  action_repeat: environment steps per action; 0 for the task's own.
  """

  agent_steps: int = 2500
  updates_per_agent_step: float = 4.0
  updates_per_call: int = 50
  num_demonstrations: int = 5
  demonstrations: str = ''
  environment: str = ''
  action_repeat: int = 0
  actors: ActorsConfig = ActorsConfig()
  replay: ReplayConfig = ReplayConfig()
  evaluation: EvaluationConfig = EvaluationConfig()
  checkpoints: CheckpointsConfig = CheckpointsConfig()
  parallel: ParallelConfig = ParallelConfig()


class Run(NamedTuple):
  """What names a run: two runs are the same if and only if these are equal.

  agent: a name in `evaluation.AGENTS`; agent_config: its configuration.
  """

  agent: str
  task: str
  seed: int
  agent_config: Any
  config: Config


class _State(NamedTuple):
  """What changes while training.

  learner: the agent's state, replicated. replay: `[D, ...]`, one shard per device.
  rng_key: split once per use. counters: `logs.COUNTERS` and `episodes`, on the host.
  """

  learner: Any
  replay: episodes.Replay
  rng_key: chex.PRNGKey
  counters: Mapping[str, int]


def train(run: Run, workdir: str | os.PathLike) -> dict[str, float]:
  """Trains, or continues where the work directory's latest checkpoint stands.

  Args:
    run: what to train.
    workdir: created if need be; holds config.json, metrics.jsonl, timing.jsonl, tensorboard/ and
      checkpoints/.

  Returns:
    The last evaluation's metrics.

  Raises:
    InputError: on bad input, before anything is written.
    FloatingPointError: if the loss is no longer finite; the last checkpoint is kept.
  """
  config = run.config
  _validate(config)
  dataset, environments, spec = _load_inputs(run)
  module = evaluation.AGENTS[run.agent]
  agent = module.make_agent(run.agent_config, spec)
  devices = parallel.choose_devices(config.parallel.devices, run.agent_config.batch_size // 2)
  errors.check(
    config.replay.episodes >= len(devices),
    'config.replay.episodes',
    config.replay.episodes,
    f'at least one for each of {len(devices)} devices',
  )
  workdir = pathlib.Path(workdir)
  description = _describe(run, dataset, environments[0].action_repeat, spec)
  _claim(workdir, description)

  checkpoints = checkpoints_lib.Checkpoints(workdir, config.checkpoints.keep)
  longest = max(len(episode.trajectory.actions) for episode in dataset.episodes)
  state = _init(run, agent, spec, config.replay.episodes * (longest + 1), devices)
  metrics_bytes, result = 0, {}
  if checkpoints.latest() is not None:
    state, metrics_bytes, result = _restore(checkpoints, state)
  loop = _Loop(run, agent, spec, dataset, devices, longest)
  logger = logs.Logger(workdir, config.agent_steps, metrics_bytes)
  try:
    _train(run, agent, loop, state, environments, dataset, logger, checkpoints, description, result)
    return result
  finally:
    logger.close()
    checkpoints.close()


def _train(
  run, agent, loop, state, environments, dataset, logger, checkpoints, description, result
):
  config = run.config
  act_greedily = jax.jit(agent.act_greedily)
  evaluators = evaluation.make_environments(
    run.task, environments[0].action_repeat, config.environment, config.evaluation.episodes
  )

  def evaluate(state):
    started = time.perf_counter()
    params = parallel.first_copy(agent.params(state.learner))
    returns = evaluation.rollout(act_greedily, params, evaluators)
    result.update(evaluation.summarise(returns, dataset.mean_return))
    logger.write(state.counters, {f'eval/{name}': value for name, value in result.items()})
    seconds = time.perf_counter() - started
    logger.write_timing(state.counters, {'time/evaluation_seconds': seconds})
    shown = f'{result["mean_return"]:.0f}', f'{result["fraction_of_expert"]:.2f}'
    logger.progress(state.counters, **{'return': shown[0], 'of_expert': shown[1]})

  def save(state):
    checkpoints.save(
      state.counters['agent_steps'],
      {
        'params': agent.params(state.learner),
        'learner': state.learner,
        'replay': state.replay,
      },
      {
        'meta': {
          'counters': dict(state.counters),
          'rng_key': jax.random.key_data(state.rng_key).tolist(),
          'metrics_bytes': logger.metrics_bytes,
          'result': result,
        },
        'config': description,
      },
    )

  if state.counters['agent_steps'] == 0:
    evaluate(state)
  while state.counters['agent_steps'] < config.agent_steps:
    before = state.counters['agent_steps']
    state = loop.round(state, environments, logger)
    done = state.counters['agent_steps'] >= config.agent_steps
    passed = lambda interval: before // interval < state.counters['agent_steps'] // interval
    if done or passed(config.evaluation.interval):
      evaluate(state)
    if done or passed(config.checkpoints.interval):
      save(state)


class _Loop:
  """The compiled functions of a run and one round of it."""

  def __init__(self, run, agent, spec, dataset, devices, longest):
    self._run, self._devices, self._rows = run, devices, longest + 1
    chex.clear_trace_counter()  # It counts per process, and a process may train several runs.
    axis_name = parallel.AXIS_NAME

    def update_many(learner, rng_key, replay, demonstrations):
      def one(learner, key):
        return agent.update(learner, key, replay, demonstrations, axis_name)

      keys = jax.random.split(rng_key, run.config.updates_per_call)
      learner, metrics = jax.lax.scan(one, learner, keys)
      return learner, jax.tree.map(lambda x: x.mean(0), metrics)

    once = chex.assert_max_traces(n=1)
    self._update = parallel.map_update(once(update_many), devices)
    self._add = parallel.map_shards(once(episodes.add), devices)
    self._act = jax.jit(once(agent.act))
    self._agent = agent
    self._demonstrations = parallel.replicate(demonstrations_replay(dataset, spec), devices)

  def round(self, state: _State, environments, logger) -> _State:
    """One episode per actor, pushed, and the updates that are due for it."""
    started = time.perf_counter()
    state = self._collect(state, environments, logger)
    collected = time.perf_counter()
    state, calls = self._learn(state, logger)
    seconds = time.perf_counter() - collected
    timing = {'time/collect_seconds': collected - started, 'time/update_seconds': seconds}
    if calls:
      rate = calls * self._run.config.updates_per_call / seconds
      timing['time/updates_per_second'] = rate
      logger.progress(state.counters, **{'updates/s': f'{rate:.1f}'})
    logger.write_timing(state.counters, timing)
    return state

  def _collect(self, state, environments, logger):
    config, counters = self._run.config, state.counters
    rng_key, act_key = jax.random.split(state.rng_key)
    params = parallel.first_copy(self._agent.params(state.learner))
    temperature = np.float32(
      current_temperature(config.actors, counters['agent_steps'] / config.agent_steps)
    )
    calls = iter(range(1 << 30))

    def act(observations):
      key = jax.random.fold_in(act_key, next(calls))
      return np.asarray(self._act(params, key, observations, temperature))

    first = counters['episodes']
    seeds = [_episode_seed(self._run.seed, first + i) for i in range(len(environments))]
    trajectories = acting.collect_episodes(act, environments, seeds)
    agent_steps = sum(len(trajectory.actions) for trajectory in trajectories)
    counters = dict(
      counters,
      agent_steps=counters['agent_steps'] + agent_steps,
      env_steps=counters['env_steps'] + agent_steps * environments[0].action_repeat,
      episodes=first + len(trajectories),
    )
    returns = [float(trajectory.rewards.sum()) for trajectory in trajectories]
    logger.write(counters, {'collect/mean_return': np.mean(returns)})
    return state._replace(
      rng_key=rng_key, counters=counters, replay=self._push(state.replay, trajectories, first)
    )

  def _push(self, replay, trajectories, first):
    """Adds episodes, dealt to the shards in turn by their number."""
    devices = len(self._devices)
    for trajectory, number in zip(trajectories, range(first, first + len(trajectories))):
      rows = episodes.to_rows(trajectory)
      length = len(rows.reward)
      errors.check(
        length <= self._rows,
        'episode',
        f'{length - 1} agent steps',
        f"at most {self._rows - 1}, the longest demonstration's",
      )
      padded = episodes.pad_rows(rows, self._rows)
      # Every shard sees the episode; only one takes it.
      counts = np.where(np.arange(devices) == number % devices, length, 0).astype(np.int32)
      stacked = jax.tree.map(lambda x: np.broadcast_to(x, (devices,) + x.shape), padded)
      replay = self._add(replay, stacked, counts)
    return replay

  def _learn(self, state, logger):
    config, counters = self._run.config, dict(state.counters)
    if counters['episodes'] < len(self._devices):  # Some shard is still empty.
      return state, 0
    due = int(counters['agent_steps'] * config.updates_per_agent_step) - counters['updates']
    learner, rng_key, gathered = state.learner, state.rng_key, []
    calls = due // config.updates_per_call
    for _ in range(calls):
      rng_key, update_key = jax.random.split(rng_key)
      learner, metrics = self._update(learner, update_key, state.replay, self._demonstrations)
      gathered.append(metrics)
      counters['updates'] += config.updates_per_call
    if calls:
      metrics = jax.tree.map(lambda *x: float(np.mean(jax.device_get(x))), *gathered)
      bad = sorted(name for name, value in metrics.items() if not np.isfinite(value))
      if bad:
        raise FloatingPointError(f'{bad} not finite after {counters["updates"]} updates')
      logger.write(counters, metrics)
    return state._replace(learner=learner, rng_key=rng_key, counters=counters), calls


def demonstrations_replay(dataset: dataset_lib.Dataset, spec: types.EnvironmentSpec):
  """All of a dataset's episodes in a replay that just holds them."""
  rows = [episodes.to_rows(episode.trajectory) for episode in dataset.episodes]
  replay = episodes.init(spec, sum(len(x.reward) for x in rows))
  for episode_rows in rows:
    replay = episodes.add(replay, episode_rows, jnp.int32(len(episode_rows.reward)))
  return replay


def current_temperature(config: ActorsConfig, fraction: float) -> float:
  """The temperature at `fraction` of the run."""
  passed = [t for t, start in zip(config.temperatures, config.fractions) if fraction >= start]
  return passed[-1]


def _episode_seed(seed: int, episode: int) -> int:
  """A seed in [0, 2^32) for one episode of one run."""
  return int(np.random.SeedSequence((seed, episode)).generate_state(1)[0])


def _validate(config: Config) -> None:
  positive = {
    'agent_steps': config.agent_steps,
    'updates_per_agent_step': config.updates_per_agent_step,
    'updates_per_call': config.updates_per_call,
    'actors.num': config.actors.num,
    'replay.episodes': config.replay.episodes,
    'evaluation.episodes': config.evaluation.episodes,
    'evaluation.interval': config.evaluation.interval,
    'checkpoints.interval': config.checkpoints.interval,
    'checkpoints.keep': config.checkpoints.keep,
  }
  for field, value in positive.items():
    errors.check(value > 0, f'config.{field}', value, 'more than 0')
  actors = config.actors
  fits = len(actors.temperatures) == len(actors.fractions) > 0 and actors.fractions[0] == 0
  expected = 'as many as config.actors.temperatures, the first one 0'
  errors.check(fits, 'config.actors.fractions', actors.fractions, expected)


def _load_inputs(run):
  """The demonstrations and one environment per actor, checked against each other."""
  config = run.config
  repeat = environments_lib.resolve_action_repeat(
    run.task, config.action_repeat, config.environment
  )
  make = lambda: environments_lib.make_environment(run.task, repeat, config.environment)
  environments = [make() for _ in range(config.actors.num)]
  path = config.demonstrations or dataset_lib.shipped_path(run.task)
  dataset = dataset_lib.load(path)
  spec = environments_lib.environment_spec(environments[0])
  dataset_lib.check_matches(dataset, run.task, repeat, spec)
  dataset = dataset.take(config.num_demonstrations)
  return dataset, environments, dataset_lib.with_statistics(dataset, spec)


def _describe(run, dataset, action_repeat, spec) -> dict[str, Any]:
  """Everything that rebuilds the agent, and what its results are compared with, as JSON."""
  return {
    'agent': run.agent,
    'task': run.task,
    'seed': run.seed,
    'action_repeat': action_repeat,
    'agent_config': configuration.to_dict(run.agent_config),
    'config': configuration.to_dict(run.config),
    'demonstrations': {
      'checksum': dataset.checksum,
      'mean_return': dataset.mean_return,
    },
    'environment_spec': {
      k: list(v) if isinstance(v, tuple) else v for k, v in spec._asdict().items()
    },
  }


def _claim(workdir: pathlib.Path, description: Mapping[str, Any]) -> None:
  """Writes config.json into a new work directory, or checks that a used one holds this run."""
  path = workdir / 'config.json'
  if path.exists():
    try:
      stored = json.loads(path.read_text())
    except json.JSONDecodeError as error:
      raise errors.InputError(f'workdir: found {path} unreadable, expected JSON') from error
    different = configuration.differences(stored, description)
    expected = 'the same settings to resume, or another --workdir'
    errors.check(not different, 'workdir', f'{workdir} with {"; ".join(different)}', expected)
    return
  used = workdir.is_dir() and any(workdir.iterdir())
  errors.check(not used, 'workdir', f'{workdir} with files but no config.json', 'an empty one')
  workdir.mkdir(parents=True, exist_ok=True)
  partial = workdir / 'config.json.partial'
  partial.write_text(json.dumps(description, indent=2) + '\n')
  partial.rename(path)


def _init(run, agent, spec, capacity, devices) -> _State:
  rng_key, init_key = jax.random.split(jax.random.key(run.seed))
  # Each shard gets its share of the episodes.
  replay = episodes.init(spec, -(-capacity // len(devices)))
  counters = dict.fromkeys((*logs.COUNTERS, 'episodes'), 0)
  learner = parallel.replicate(agent.init(init_key), devices)
  return _State(learner, parallel.stack(replay, devices), rng_key, counters)


def _restore(checkpoints, state) -> tuple[_State, int, dict[str, float]]:
  like = {'learner': state.learner, 'replay': state.replay}
  restored = checkpoints.restore(checkpoints.latest(), like)
  meta = restored['meta']
  rng_key = jax.random.wrap_key_data(jnp.asarray(meta['rng_key'], jnp.uint32))
  restored_state = _State(restored['learner'], restored['replay'], rng_key, meta['counters'])
  return restored_state, meta['metrics_bytes'], meta['result']
