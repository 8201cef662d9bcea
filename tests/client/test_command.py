"""The command before it is loaded."""

from importlib.metadata import version
from types import SimpleNamespace

import pytest

from client import errors
from client.cli import __main__ as command
from client.cli.main import main as build_and_run


def test_an_interruption_while_the_command_loads_is_told_like_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> object:
        raise KeyboardInterrupt(name)

    monkeypatch.setattr(command, "import_module", interrupted)
    assert command.main() == errors.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_the_exit_code_is_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "import_module", lambda _: SimpleNamespace(main=lambda: 4))
    assert command.main() == 4


def test_the_version_is_that_of_the_installed_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_and_run(["--version"]) == errors.EXIT_OK
    assert capsys.readouterr().out == f"tracemark {version('tracemark')}\n"
