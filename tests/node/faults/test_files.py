"""Files that the node and its commands write beside the databases: whole or absent, whatever the disk does at which step."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import ConfigurationError, StoreError
from node.files import SECRET_MODE, write_file
from node.storage import open_stores
from node.storage.lock import LOCK_FILE, lock_folder

STEPS = ("mkstemp", "fchmod", "write", "fsync", "link", "replace")


def failing(step: str, usual: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """As usual, then an error; or the error alone."""

    def act(*arguments: Any, **named: Any) -> Any:
        if after:
            usual(*arguments, **named)
        raise OSError(errno.ENOSPC, f"{step}: no space left")

    return act


@pytest.mark.parametrize("after", [False, True], ids=["failed", "failed but done"])
@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_file_is_the_old_or_the_new_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, replace: bool, after: bool
) -> None:
    path = tmp_path / "folder" / "file"
    if replace:
        write_file(path, b"old" * 1_000, mode=SECRET_MODE)
    with monkeypatch.context() as patched:
        if step == "mkstemp":
            patched.setattr("node.files.tempfile.mkstemp", failing(step, lambda *_, **__: None, after=False))
        elif step == "replace":
            patched.setattr("node.files.Path.replace", failing(step, Path.replace, after=after))
        elif step == "write":
            patched.setattr("node.files.os.fdopen", failing(step, os.fdopen, after=False))
        else:
            patched.setattr(f"node.files.os.{step}", failing(step, getattr(os, step), after=after))
        reached = step not in ("link", "replace") or (step == "replace") == replace
        if reached:
            with pytest.raises(ConfigurationError) as caught:
                write_file(path, b"new" * 2_000, mode=SECRET_MODE, replace=replace)
            assert caught.value.code == "unwritable_file"
    old = b"old" * 1_000 if replace else None
    held = path.read_bytes() if path.exists() else None
    assert held in (old, b"new" * 2_000)
    left = [found.name for found in path.parent.iterdir() if found != path] if path.parent.exists() else []
    assert left == [], "no temporary file is left"
    write_file(path, b"new" * 2_000, mode=SECRET_MODE, replace=path.exists())
    assert path.read_bytes() == b"new" * 2_000


@pytest.mark.parametrize("step", ["open", "ftruncate", "pwrite"])
def test_a_lock_that_cannot_be_written_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(f"node.storage.lock.os.{step}", failing(step, getattr(os, step), after=False))
        with pytest.raises(StoreError):
            lock_folder(tmp_path)
    lock_folder(tmp_path).release()


def test_a_lock_file_of_a_process_that_died_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_text("4711\n")
    open_stores(tmp_path).close()
