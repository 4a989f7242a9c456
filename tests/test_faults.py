from tests import faults


def test_five_kills(capsys):
  assert faults.main(['--kills=5', '--seed=5']) == 0
  assert '5 kills, 5 resumed, 5 bit-identical' in capsys.readouterr().out
