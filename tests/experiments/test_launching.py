"""Commands in processes of their own: how many at a time, how they end, what they say."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from experiments import launching
from experiments.launching import Launch, last_words, run_all, start, stop

STAND_IN = """
import os, signal, subprocess, sys, time
from pathlib import Path

what, folder = sys.argv[1], Path(sys.argv[2])
name = folder / str(os.getpid())
if what == "fail":
    sys.exit("first line\\n\\nthe reason")
if what == "threads":
    print(os.environ.get("OMP_NUM_THREADS"))
if what == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (folder / "child").write_text(str(child.pid))
if what == "orphan":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (folder / "child").write_text(str(child.pid))
    sys.exit(3)
if what in ("stubborn", "wait"):
    name.touch()
    time.sleep(60)
if what == "brief":
    (folder / "most").open("a").write(f"{len(list(folder.glob('[0-9]*'))) + 1}\\n")
    name.touch()
    time.sleep(0.2)
    name.unlink()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A directory in which ``python -m experiments`` is a small program."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__main__.py").write_text(STAND_IN)
    (tmp_path / "at_work").mkdir()
    return tmp_path


def launch(folder: Path, what: str, name: str | None = None) -> Launch:
    return Launch(name or what, (what, str(folder / "at_work")), folder / "logs" / f"{name or what}.log")


def wait_for(path: Path, pattern: str, number: int = 1) -> None:
    deadline = time.monotonic() + 60
    while len(list(path.glob(pattern))) < number:
        assert time.monotonic() < deadline, f"no {pattern} in {path}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_more_than_the_jobs_run_at_a_time(folder, jobs):
    ended = []
    launches = [launch(folder, "brief", f"brief {number}") for number in range(3)]
    statuses = run_all(launches, jobs, lambda launch, status: ended.append((launch.name, status)))
    assert statuses == {f"brief {number}": 0 for number in range(3)}
    assert ended == list(statuses.items())
    most = [int(line) for line in (folder / "at_work" / "most").read_text().splitlines()]
    assert len(most) == 3
    assert max(most) <= jobs


def test_one_that_fails_stops_no_other_and_its_last_words_are_kept(folder):
    launches = [launch(folder, "fail"), launch(folder, "brief")]
    assert run_all(launches) == {"fail": 1, "brief": 0}
    assert last_words(launches[0].log) == "first line / the reason"
    assert last_words(launches[0].log, num_lines=1) == "the reason"
    assert last_words(launches[1].log) == "it said nothing"
    assert run_all(launches[:1]) == {"fail": 1}
    assert launches[0].log.read_text().count("the reason") == 2  # the log goes on


@pytest.mark.parametrize(("jobs", "given", "expected"), [(1, None, "None"), (2, None, "half"), (2, "3", "3")])
def test_the_cores_are_shared_unless_the_user_says_how(folder, monkeypatch, jobs, given, expected):
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    threads = launch(folder, "threads")
    assert start(threads, jobs).wait() == 0
    half = str(max(1, (os.cpu_count() or 1) // 2))
    assert threads.log.read_text().strip() == (half if expected == "half" else expected)


def test_a_command_that_does_not_end_is_killed_with_all_its_processes(folder, monkeypatch):
    monkeypatch.setattr(launching, "STOP_SECONDS", 0.2)
    process = start(launch(folder, "stubborn"))
    wait_for(folder / "at_work", f"{process.pid}")
    child = int((folder / "at_work" / "child").read_text())
    assert is_alive(child)
    stop(process)
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(child)
    stop(process)  # one that has ended is left alone


def test_what_a_command_leaves_behind_ends_with_it(folder):
    assert run_all([launch(folder, "orphan")]) == {"orphan": 3}
    child = int((folder / "at_work" / "child").read_text())
    deadline = time.monotonic() + 30
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(child)


def test_an_exception_ends_all_that_run(folder):
    def interrupt(_launch, _status):
        wait_for(folder / "at_work", "[0-9]*", 2)
        raise KeyboardInterrupt

    launches = [launch(folder, "wait", f"wait {number}") for number in range(2)]
    with pytest.raises(KeyboardInterrupt):
        run_all([*launches, launch(folder, "fail")], 3, interrupt)
    pids = [int(path.name) for path in (folder / "at_work").glob("[0-9]*")]
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def test_an_interrupt_at_the_keyboard_reaches_the_launcher_alone(folder):
    process = start(launch(folder, "wait"))
    try:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
        assert process.args[0] == sys.executable
    finally:
        stop(process)
    assert process.returncode == -signal.SIGTERM
