"""How commands end: a sentence and a code, never a traceback that nobody asked for."""

from pathlib import Path

import pytest

from haulage.domain.errors import InputError, NotReachableError
from haulage.infra.cli.failures import guard
from haulage.infra.cli.signals import TerminatedError


def raising(error: BaseException) -> None:
    raise error


def test_an_expected_error_is_its_sentence_and_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert guard(lambda: raising(InputError("There is no file users.csv. Check the path."))) == 7
    assert guard(lambda: raising(NotReachableError("NATS can't be reached."))) == 8
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "haulage: There is no file users.csv. Check the path.\nhaulage: NATS can't be reached.\n"


def test_an_unexpected_error_is_one_sentence_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").mkdir()
    monkeypatch.setenv("HAULAGE_HOME", str(tmp_path))
    assert guard(lambda: raising(ZeroDivisionError("division by zero"))) == 1
    err = capsys.readouterr().err
    (kept,) = (tmp_path / "log").iterdir()
    assert "Traceback" not in err
    assert str(kept) in err
    assert "ZeroDivisionError: division by zero" in kept.read_text()


def test_an_unexpected_error_makes_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAULAGE_HOME", str(tmp_path / "home"))
    assert guard(lambda: raising(ZeroDivisionError())) == 1
    assert not (tmp_path / "home").exists()


def test_ctrl_c_and_signals_end_with_their_own_codes() -> None:
    assert guard(lambda: raising(KeyboardInterrupt())) == 130
    assert guard(lambda: raising(TerminatedError(15))) == 143
