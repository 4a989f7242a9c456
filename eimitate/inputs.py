"""What a run is given: environments and demonstrations, checked against each other."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

from eimitate import configuration
from eimitate import environments as environments_lib
from eimitate import errors
from eimitate import evaluation
from eimitate import runs
from eimitate import tracking
from eimitate import types
from eimitate.demonstrations import dataset as dataset_lib
from eimitate.environments import tracking as wrappers
from eimitate.replay import episodes


class Inputs(NamedTuple):
  """What a run is given.

  environments: one per actor, as one program where they are on device.
  spec: what the agent must know of them.
  dataset: the demonstrations, if any. expert_return: what returns are compared with, 0 if unknown.
  longest: agent steps of the longest episode.
  evaluators: an environment for each episode of an evaluation. summarise: what their trajectories
    amount to; `mean_return` is among it.
  parts: of the tracking reward, by name; none where no demonstration is followed.
  """

  environments: list | environments_lib.OnDevice
  spec: types.EnvironmentSpec
  dataset: dataset_lib.Dataset | None
  expert_return: float
  longest: int
  evaluators: list | environments_lib.OnDevice
  summarise: Callable[[Sequence[types.Trajectory | None]], Mapping[str, float]]
  parts: Mapping[str, Any] = {}

  @property
  def action_repeat(self) -> int:
    """Environment steps per action."""
    return _first(self.environments).action_repeat


def load(run: runs.Run) -> Inputs:
  """The demonstrations, if any, and one environment per actor.

  Raises:
    InputError: if there is no such task or dataset, or they do not fit together.
  """
  config = run.config
  repeat = environments_lib.resolve_action_repeat(
    run.task, config.action_repeat, config.environment, config.frame_size
  )
  if 'tracking' in run.agent_config.rewards:
    on_device = config.actors.placement == 'device'
    return (_load_tracking_on_device if on_device else _load_tracking)(run, repeat)
  environments, evaluators = (
    evaluation.make_environments(
      run.task, repeat, config.environment, config.frame_size, count, config.actors.placement
    )
    for count in (config.actors.num, config.evaluation.episodes)
  )
  spec = environments_lib.environment_spec(_first(environments), config.stack)
  if isinstance(environments, environments_lib.OnDevice):
    _check_longest(config, environments)
  _check_follows_none(config)
  if config.tracking.task_curriculum:
    environments = _begun_within(run, environments, repeat)
  if not config.num_demonstrations and not run.agent_config.needs_demonstrations:
    longest = config.replay.longest or _first(environments).longest_episode
    expected = 'agent steps of the longest episode, which the environment does not tell'
    errors.check(longest > 0, 'config.replay.longest', longest, expected)
    _check_stack(config, longest)
    expert_return = environments_lib.expert_return(run.task, config.frame_size)
    summarise = functools.partial(evaluation.summarise_trajectories, expert_return=expert_return)
    return Inputs(environments, spec, None, expert_return, longest, evaluators, summarise)
  dataset = dataset_lib.load(config.demonstrations or dataset_lib.shipped_path(run.task, repeat))
  needs_rewards = run.agent_config.needs_demonstrations and bool(run.agent_config.rewards)
  dataset_lib.check_matches(dataset, run.task, repeat, spec, needs_rewards=needs_rewards)
  dataset = dataset.take(config.num_demonstrations)
  if config.frame_size:
    # Imported here: it imports MuJoCo, which decides on import whether it can draw.
    from eimitate.demonstrations import frames

    dataset = frames.with_frames(dataset, config.frame_size)
  if run.agent_config.needs_statistics:
    spec = dataset_lib.with_statistics(dataset, spec)
  recorded = max(len(episode.trajectory.actions) for episode in dataset.episodes)
  longest = config.replay.longest or max(recorded, _first(environments).longest_episode)
  _check_stack(config, longest)
  expert_return = dataset.mean_return
  summarise = functools.partial(evaluation.summarise_trajectories, expert_return=expert_return)
  return Inputs(environments, spec, dataset, expert_return, longest, evaluators, summarise)


def _check_stack(config, longest):
  fits = not config.frame_size or config.stack <= longest + 1
  expected = f'at most the {longest + 1} frames of an episode'
  errors.check(fits, 'config.stack', config.stack, expected)


def _check_longest(config, environments):
  given, least = config.replay.longest, environments.longest_episode
  expected = f'{least} or more, what each actor does at a time'
  errors.check(not 0 < given < least, 'config.replay.longest', given, expected)


def _check_follows_none(config):
  """Against settings that an agent which follows no demonstration would ignore."""
  default = runs.TrackingConfig()
  for field in dataclasses.fields(default):
    value, same = getattr(config.tracking, field.name), getattr(default, field.name)
    ignored = value != same and field.name != 'task_curriculum'
    expected = f'{same!r}, as the agent follows no demonstration'
    errors.check(not ignored, f'config.tracking.{field.name}', repr(value), expected)


def _begun_within(run: runs.Run, environments, repeat: int) -> list:
  """Environments whose episodes begin within the first steps of a demonstration."""
  config, steps = run.config, run.config.tracking.task_curriculum
  field, placement = 'config.tracking.task_curriculum', config.actors.placement
  errors.check(placement == 'host', field, f'{steps} with actors on {placement}', 'the host')
  first = _check_restorable(config, environments[0])
  dataset = dataset_lib.load(config.demonstrations or dataset_lib.shipped_path(run.task, repeat))
  dataset = dataset.take(config.num_demonstrations) if config.num_demonstrations else dataset
  spec = environments_lib.environment_spec(first)
  dataset_lib.check_matches(dataset, run.task, repeat, spec, needs_actions=False)
  tracking.check(dataset, first, curricula={'task_curriculum': steps})
  begins = [
    wrappers.Demonstrated(episode.states, episode.model_fields, episode.trajectory.observations, {})
    for episode in dataset.episodes
  ]
  return tracking.begin_within(environments, begins, steps)


def _check_restorable(config, environment):
  restorable, expected = hasattr(environment, 'restore'), 'empty: a task that can be restored'
  errors.check(restorable, 'config.environment', repr(config.environment), expected)
  return environment


def _load_tracking(run: runs.Run, repeat: int) -> Inputs:
  """Environments that follow the demonstrations, and maybe some that perform the task."""
  config, which = run.config, _which_rewards(run)
  placement, expected = config.actors.placement, "'host' or 'device', to follow demonstrations"
  errors.check(placement == 'host', 'config.actors.placement', repr(placement), expected)
  make = lambda: environments_lib.make_environment(
    run.task, repeat, config.environment, config.frame_size
  )
  first = _check_restorable(config, make())
  dataset, unseen, evaluated = _load_to_follow(run, first)
  demonstrated = [wrappers.demonstrated(first, episode) for episode in dataset.episodes]
  parts = tracking.make_parts(config.tracking, demonstrated)
  environments = tracking.make_actors(
    make, parts, config.tracking, demonstrated, config.actors.num, which
  )
  followed = [*unseen, *evaluated]
  made = [make() for _ in followed]
  evaluators = tracking.make_evaluators(made, parts, config.tracking.cutoff, followed, which)
  evaluators += [wrappers.Perform(make()) for _ in range(_performances(run))]
  return _of_tracking(run, first, dataset, parts, environments, evaluators, (evaluated, unseen))


def _load_tracking_on_device(run: runs.Run, repeat: int) -> Inputs:
  """The same as one program."""
  config, which = run.config, _which_rewards(run)
  batch = environments_lib.make_on_device(
    run.task, repeat, config.actors.num, config.environment, config.frame_size
  )
  dataset, unseen, evaluated = _load_to_follow(run, batch)
  demonstrated = [wrappers.demonstrated(batch, episode) for episode in dataset.episodes]
  parts = tracking.make_parts(config.tracking, demonstrated)
  environments = tracking.make_actors_on_device(
    batch, parts, config.tracking, dataset.episodes, which
  )
  _check_longest(config, environments)
  cutoff, performances = config.tracking.cutoff, _performances(run)
  evaluators = tracking.make_evaluators_on_device(
    batch, parts, cutoff, [*unseen, *evaluated], which, performances
  )
  return _of_tracking(run, batch, dataset, parts, environments, evaluators, (evaluated, unseen))


def _which_rewards(run):
  performs, expected = run.config.tracking.task_actors, '0: the agent does not learn the task'
  learns = 'task' in run.agent_config.rewards
  errors.check(learns or not performs, 'config.tracking.task_actors', performs, expected)
  return tuple(wrappers.REWARDS.index(name) for name in run.agent_config.rewards)


def _samples_demonstrations(run):
  """Whether updates do: who learns from two rewards follows demonstrations, and clones none."""
  return run.agent_config.needs_demonstrations and len(run.agent_config.rewards) == 1


def _performances(run):
  """Episodes of the task in an evaluation."""
  return run.config.evaluation.episodes if 'task' in run.agent_config.rewards else 0


def _of_tracking(run, plain, dataset, parts, environments, evaluators, evaluated) -> Inputs:
  config, rewards = run.config, len(run.agent_config.rewards)
  alone = config.stack == 1 or not config.frame_size
  errors.check(alone, 'config.stack', config.stack, '1: a goal is one frame')
  spec = tracking.make_spec(environments_lib.environment_spec(plain), dataset, rewards)
  if _samples_demonstrations(run):  # Frames would be there twice more, for nobody.
    dataset = tracking.with_goals(dataset)
  if spec.frame and run.agent_config.needs_statistics:
    spec = dataset_lib.with_statistics(dataset, spec)
  steps = max(len(episode.states) - 1 for episode in dataset.episodes)
  limit = plain.longest_episode if config.tracking.task_actors else 0
  longest = config.replay.longest or max(steps, limit)
  summarise = tracking.make_summary(*evaluated)
  # Every step of a demonstration is worth 1.
  return Inputs(environments, spec, dataset, float(steps), longest, evaluators, summarise, parts)


def _load_to_follow(run: runs.Run, environment) -> tuple[dataset_lib.Dataset, Sequence, Sequence]:
  """Demonstrations to learn from; those to evaluate with: unseen ones, maybe none, and seen."""
  config, tracked, repeat = run.config, run.config.tracking, environment.action_repeat
  dataset = dataset_lib.load(config.demonstrations or dataset_lib.shipped_path(run.task, repeat))
  dataset, behind = tracking.divide(dataset, config.num_demonstrations, tracked)
  unseen = dataset_lib.load(tracked.validation) if tracked.validation else behind
  curricula = {name: getattr(tracked, name) for name in ('curriculum', 'task_curriculum')}
  spec = environments_lib.environment_spec(environment)
  needs_actions = _samples_demonstrations(run)
  for followed, begins in ((dataset, curricula), (unseen, {})):
    if followed.episodes:
      dataset_lib.check_matches(followed, run.task, repeat, spec, needs_actions)
      shortest = run.agent_config.shortest_demonstration
      tracking.check(followed, environment, shortest, begins)
  known = lambda followed: set(map(dataset_lib.fingerprint, followed.episodes))
  both = len(known(dataset) & known(unseen)) if tracked.validation else 0
  expected = 'others than those that are learnt from'
  errors.check(not both, 'config.tracking.validation', f'{both} that are learnt from', expected)
  unseen = dataclasses.replace(unseen, episodes=unseen.episodes[: tracked.evaluated])
  if config.frame_size:
    from eimitate.demonstrations import frames

    dataset = frames.with_frames(dataset, config.frame_size)
    unseen = frames.with_frames(unseen, config.frame_size) if unseen.episodes else unseen
  return dataset, unseen.episodes, dataset.episodes[: tracked.evaluated]


def describe(run: runs.Run, inputs: Inputs) -> dict[str, Any]:
  """Everything that rebuilds the agent, and what its results are compared with, as JSON."""
  followed = inputs.dataset.episodes if inputs.dataset and inputs.parts else ()
  return {
    'agent': run.agent,
    'task': run.task,
    'seed': run.seed,
    'action_repeat': inputs.action_repeat,
    'agent_config': configuration.to_dict(run.agent_config),
    'config': configuration.to_dict(run.config),
    'demonstrations': inputs.dataset.checksum if inputs.dataset else '',
    'learnt': ' '.join(map(dataset_lib.fingerprint, followed)),
    'expert_return': inputs.expert_return,
    'tracking': {name: list(part) for name, part in inputs.parts.items()},
    'environment_spec': {
      k: list(v) if isinstance(v, tuple) else v for k, v in inputs.spec._asdict().items()
    },
  }


def _first(environments):
  on_device = isinstance(environments, environments_lib.OnDevice)
  return environments if on_device else environments[0]


def demonstrations_replay(inputs: Inputs) -> episodes.Replay | None:
  """All the demonstrations' episodes in a replay that just holds them."""
  dataset = inputs.dataset
  # Who learns from two rewards follows demonstrations, and imitates without their actions.
  if dataset is None or inputs.spec.rewards > 1:
    return None
  return episodes.of(inputs.spec, [episode.trajectory for episode in dataset.episodes])
