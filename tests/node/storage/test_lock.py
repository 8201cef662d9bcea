"""One data directory belongs to one process: two on the same votes would vote twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ledger.errors import ConfigurationError, StoreError
from node.storage import open_stores
from node.storage.lock import LOCK_FILE, lock_folder

_HOLD: Final = (
    "import pathlib, signal, sys, node.storage.lock; "
    "held = node.storage.lock.lock_folder(pathlib.Path(sys.argv[1])); print('held', flush=True); signal.pause()"
)


def test_a_second_opening_is_refused_before_a_database_is_touched(tmp_path: Path) -> None:
    first = lock_folder(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        open_stores(tmp_path)
    assert caught.value.code == "data_dir_in_use"
    assert str(tmp_path) in caught.value.message
    assert str(os.getpid()) in str(caught.value.actual)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
    first.release()
    open_stores(tmp_path).close()


def test_closing_the_stores_lets_the_next_in(tmp_path: Path) -> None:
    stores = open_stores(tmp_path)
    with pytest.raises(ConfigurationError, match="data_dir_in_use"):
        open_stores(tmp_path)
    stores.close()
    open_stores(tmp_path).close()


def test_stores_that_do_not_open_keep_no_lock(tmp_path: Path) -> None:
    (tmp_path / "votes.db").write_bytes(b"not a database at all, but long enough to be read as a header" * 100)
    with pytest.raises(StoreError):
        open_stores(tmp_path)
    lock_folder(tmp_path).release()


@pytest.mark.processes
def test_another_process_is_named_and_its_death_frees_the_folder(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ConfigurationError) as caught:
            lock_folder(tmp_path)
        assert caught.value.actual == f"process {other.pid}"
        other.send_signal(signal.SIGKILL)
        other.wait()
    lock_folder(tmp_path).release()
