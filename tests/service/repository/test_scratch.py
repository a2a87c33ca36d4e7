import errno
import fcntl
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.repository.scratch import clear_abandoned, scratch

KILLED = """
import os, signal, sys
from pathlib import Path
from service.repository.scratch import scratch

with scratch(Path(sys.argv[1]), "work-") as directory:
    (directory / "half").write_text("a file")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def leftover(tmp_path: Path) -> Path:
    """Return what a killed process has left in `tmp_path`."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (directory,) = tmp_path.iterdir()
    return directory


def test_directory_is_gone_at_the_end(tmp_path: Path) -> None:
    with scratch(tmp_path, "work-") as directory:
        (directory / "file").write_text("text")

    assert list(tmp_path.iterdir()) == []


def test_directory_that_was_moved_away_stays(tmp_path: Path) -> None:
    with scratch(tmp_path, "work-") as directory:
        directory.rename(tmp_path / "1")

    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, leftover: Path) -> None:
    with scratch(tmp_path, "work-") as directory:
        assert list(tmp_path.iterdir()) == [directory]

    assert not leftover.exists()


def test_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    with scratch(tmp_path, "work-") as first, scratch(tmp_path, "work-") as second:
        clear_abandoned(tmp_path, "work-")

        assert sorted(tmp_path.iterdir()) == sorted([first, second])


def test_what_others_keep_beside_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work-file").write_text("no directory")
    (tmp_path / "work-link").symlink_to(tmp_path / "elsewhere")

    clear_abandoned(tmp_path, "work-")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "work-file", "work-link"]


def test_clearing_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "work-abc-removed").mkdir()

    clear_abandoned(tmp_path, "work-")

    assert list(tmp_path.iterdir()) == []


def test_file_system_without_locks_is_worked_on_and_nothing_is_cleared_there(
    tmp_path: Path, leftover: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.EBADF, "no locks on a directory of NFS")

    monkeypatch.setattr(fcntl, "flock", refused)
    with scratch(tmp_path, "work-") as directory:
        assert directory.is_dir()

    assert list(tmp_path.iterdir()) == [leftover]


def test_directory_taken_for_abandoned_before_it_was_locked_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process clears away between our making the first directory and our locking it."""
    lock, made = fcntl.flock, []

    def cleared_first(descriptor: int, operation: int) -> None:
        if not made:
            made.extend(tmp_path.iterdir())
            made[0].rmdir()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", cleared_first)
    with scratch(tmp_path, "work-") as directory:
        assert directory.is_dir()
        assert directory != made[0]
