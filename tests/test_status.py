import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from medwb import process, status
from medwb.config import make_config
from medwb.paths import write_text
from medwb.queue import positions
from medwb.runs import Run, create_run


@pytest.fixture
def run(tiny):
    return create_run(make_config({"dataset": "tiny", "architecture": "fcnn-1"}), tiny)


@contextmanager
def claimed(run: Run):
    """A process of its own that has claimed the run and sleeps."""
    code = "import time; from medwb.status import claim_status; from pathlib import Path\n"
    code += f"claim_status(Path({str(run.path)!r})); print('up', flush=True); time.sleep(99)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"up\n"
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def stored(run: Run):
    return json.loads((run.path / "status.json").read_text())


def store(run: Run, **changes: object) -> None:
    write_text(run.path / "status.json", json.dumps({**stored(run), **changes}))


def test_a_run_whose_process_is_gone_is_failed_not_running(run):
    with claimed(run) as child:
        assert run.state == "running"
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not collected yet
        assert run.state == "failed"
        assert "the process is gone" in run.status()["error"]
    assert stored(run)["state"] == "running"
    assert status.settle(run.path, -signal.SIGKILL)
    assert stored(run)["state"] == "failed"
    assert "killed by SIGKILL" in stored(run)["error"]
    assert not status.settle(run.path)


def test_a_run_that_was_to_be_killed_is_stopped_when_its_process_is_gone(run):
    with claimed(run) as child:
        run.update_status(state="stopping", stop_now=True)
        assert run.state == "stopping"
        child.kill()
        child.wait()
        assert run.state == "stopped"
    assert status.settle(run.path)
    assert stored(run)["state"] == "stopped"


def test_another_process_with_the_same_number_is_not_taken_for_the_run(run):
    assert run.claim()
    assert run.state == "running"
    run.update_status(start_ticks=stored(run)["start_ticks"] - 1)
    assert run.state == "failed"


def test_a_clock_that_is_set_does_not_matter(run, monkeypatch):
    assert run.claim()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert run.state == "running"


def test_a_restarted_machine_is_named(run):
    assert run.claim()
    run.update_status(boot_id="another")
    assert run.status()["error"] == "the machine was restarted while it trained"


def test_a_run_of_another_host_is_left_alone(run):
    assert run.claim()
    run.update_status(host="elsewhere", pid=1, start_ticks=0)
    assert run.state == "running"
    assert not status.settle(run.path)


def test_a_run_is_claimed_once_and_only_while_it_is_queued(run, tiny):
    assert run.claim()
    assert not run.claim()
    assert not run.cancel()
    assert run.state == "running"
    other = create_run(run.config, tiny)
    assert other.cancel()
    assert not other.claim()


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        "",
        "null",
        '{"state": "running"}',
        '{"state": "odd"}',
        '{"state": "running", "pid": "x", "host": ""}',
    ],
)
def test_a_damaged_status_is_failed_and_costs_nothing_else(run, tiny, content):
    fine = create_run(run.config, tiny)
    (run.path / "status.json").write_text(content)
    assert run.state == "failed"
    assert "status.json is damaged" in run.status()["error"]
    assert fine.state == "queued"
    assert list(positions()) == [fine.id]


def test_a_training_goes_on_although_its_status_was_damaged(run):
    assert run.claim()
    (run.path / "status.json").write_text("{")
    run.update_status(epoch=3)
    assert run.status()["state"] == "running"
    assert run.status()["epoch"] == 3


def test_a_run_that_was_removed_does_not_come_back(run):
    import shutil

    shutil.rmtree(run.path)
    with pytest.raises(FileNotFoundError):
        run.update_status(epoch=1)
    assert not run.path.exists()


def test_edits_are_not_lost_between_processes(run):
    code = "import sys; from pathlib import Path; from medwb.status import edit_status\n"
    code += "for _ in range(100): edit_status(Path(sys.argv[1]), lambda s: {**s, 'epoch': s['epoch'] + 1})"
    children = [subprocess.Popen([sys.executable, "-c", code, str(run.path)]) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert run.status()["epoch"] == 300


class TestReasons:
    facts = property(lambda self: {**process.process_facts(os.getpid()), "oom_kills": 3})

    def test_the_kernel_names_the_process(self, tmp_path, monkeypatch):
        facts = self.facts
        begun = facts["start_ticks"] / os.sysconf("SC_CLK_TCK")
        line = f"Out of memory: Killed process {facts['pid']} (python) total-vm:9kB, anon-rss:5242880kB, file-rss:0kB"
        monkeypatch.setattr(process, "_kernel_log", lambda: iter([(begun + 5, line)]))
        monkeypatch.setattr(process.os, "readlink", lambda path: process._FIRST_PID_NAMESPACE)
        reason = process.why_ended(tmp_path, facts, -9)
        assert reason == "out of memory: the system killed it when it held 5.0 GB"
        monkeypatch.setattr(process, "_kernel_log", lambda: iter([(begun - 50, line)]))  # another one
        assert "out of memory" not in process.why_ended(tmp_path, {**facts, "oom_kills": None}, -9)

    def test_a_kill_that_was_only_counted_is_probable(self, tmp_path, monkeypatch):
        monkeypatch.setattr(process, "_kernel_log", lambda: iter([]))
        monkeypatch.setattr(process, "_oom_kills", lambda: 4)
        assert "SIGKILL; probably out of memory" in process.why_ended(tmp_path, self.facts, -9)
        monkeypatch.setattr(process, "_oom_kills", lambda: 3)
        assert process.why_ended(tmp_path, self.facts, -9) == "the process was killed by SIGKILL"

    def test_a_crash_quotes_the_log(self, tmp_path):
        (tmp_path / "log.txt").write_text("one\n\ntwo\n")
        reason = process.why_ended(tmp_path, self.facts, -signal.SIGSEGV)
        assert reason == "the process was killed by SIGSEGV; its log ends: one | two"
        assert process.why_ended(tmp_path, self.facts, 3) == "it ended with status 3; its log ends: one | two"

    def test_a_full_disk_is_named(self, tmp_path, monkeypatch):
        (tmp_path / "log.txt").write_text("OSError: [Errno 28] No space left on device\n")
        assert process.why_ended(tmp_path, self.facts, 1).startswith("the disk is full: free some space, then `medwb")

    @pytest.mark.parametrize(
        ("cgroup", "counter", "text"),
        [
            ("0::/job\n", "/sys/fs/cgroup/job/memory.events", "low 0\noom 2\noom_kill 7\n"),
            ("4:memory:/job\n0::/\n", "/sys/fs/cgroup/memory/job/memory.oom_control", "under_oom 0\noom_kill 7\n"),
            ("", "/proc/vmstat", "nr_free_pages 1\noom_kill 7\n"),
        ],
    )
    def test_kills_are_counted_where_they_stand(self, monkeypatch, cgroup, counter, text):
        files = {"/proc/self/cgroup": cgroup, counter: text}
        monkeypatch.setattr(process, "_read", lambda path: files.get(path, ""))
        assert process._oom_kills() == 7


def test_a_signal_reaches_the_process_that_is_meant_alone(run):
    with claimed(run) as child:
        facts = stored(run)
        assert not process.send_signal({**facts, "start_ticks": facts["start_ticks"] - 1}, signal.SIGKILL)
        assert child.poll() is None
        assert process.send_signal(facts, signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
        assert not process.send_signal(facts, signal.SIGKILL)


def test_a_queued_run_whose_folder_cannot_be_written_to_is_failed(run, monkeypatch):
    monkeypatch.setattr(status.os, "access", lambda path, mode: False)
    assert run.state == "failed"
    assert f"{run.path} cannot be written to" in run.status()["error"]
    assert positions() == {}


def test_a_name_with_brackets_is_read(tmp_path: Path):
    script = tmp_path / "a) R (b"
    script.write_text(f"#!{sys.executable}\nimport time\nprint('up', flush=True)\ntime.sleep(99)\n")
    script.chmod(0o755)
    child = subprocess.Popen([str(script)], stdout=subprocess.PIPE)
    child.stdout.readline()
    facts = process.process_facts(child.pid)
    assert process.is_alive(facts)
    child.kill()
    child.wait()
    child.stdout.close()
    assert process.is_alive(facts) is False
