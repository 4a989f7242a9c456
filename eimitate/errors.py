"""What the library raises when its user, not its code, is wrong."""


class InputError(ValueError):
  """Bad input: the message names the field, what was found and what was expected.

  Binaries print the message in one line and exit; any other exception is a bug and keeps its
  traceback.
  """

  def __init__(self, message: object):
    """`message` may quote other libraries, whose messages have several lines."""
    super().__init__(' '.join(str(message).split()))


class EnvironmentsFailed(RuntimeError):
  """No environment came as far as a step, so that there is nothing to learn from."""


def check(condition: bool, field: str, found: object, expected: object) -> None:
  """Raises `InputError` naming `field`, `found` and `expected` unless `condition` holds."""
  if not condition:
    raise InputError(f'{field}: found {found}, expected {expected}')
