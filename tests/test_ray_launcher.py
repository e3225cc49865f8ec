"""Runs as jobs of Ray: what is asked of the cluster, and a real one that the tests start and end themselves."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from medwb import ray_launcher
from medwb.config import make_config
from medwb.errors import RequestError
from medwb.ray_launcher import check, logs, stop, submit
from medwb.runs import create_run

pytestmark = pytest.mark.slow  # a pretended cluster answers over a socket

HAS_RAY = importlib.util.find_spec("ray") is not None and importlib.util.find_spec("aiohttp") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason='ray is not installed: pip install "medwb[ray]"')
ADDRESS = "http://head:8265"
ELSEWHERE = {"host": "another-node", "boot_id": "another", "start_ticks": 0, "process_started": 0.0}


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.ray/auth_token
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,head")


def new_run(tiny, **settings):
    return create_run(make_config({"dataset": "tiny", "architecture": "prevalence", **settings}), tiny)


def wait(run, states, seconds=60.0):
    deadline = time.monotonic() + seconds
    while run.state not in states:
        assert time.monotonic() < deadline, f"{run.status()}\n{run.log_tail()}"
        time.sleep(0.1)


# What is asked of the cluster and what follows from its answers, with a cluster that is none.


class Cluster:
    """Stands in for the door to Ray; `jobs` is what it knows."""

    jobs: dict = {}  # noqa: RUF012
    submitted: list = []  # noqa: RUF012
    stopped: list = []  # noqa: RUF012
    refuses: str | None = None

    def __init__(self, address):
        self.address = address or ADDRESS

    def ask(self, question):
        return question(self)

    def submit_job(self, **job):
        if self.refuses:
            raise RequestError(self.refuses)
        self.submitted.append(job)
        self.jobs[job["submission_id"]] = details("PENDING")

    def job(self, job):
        return self.jobs.get(job)

    def stop(self, job):
        self.stopped.append(job)
        if job not in self.jobs:
            return False
        self.jobs[job].status = "STOPPED"
        return True

    def get_job_logs(self, job):
        return f"words of {job}" if job in self.jobs else None


def details(status, message=None, error_type=None, code=None):
    return SimpleNamespace(status=status, message=message, error_type=error_type, driver_exit_code=code)


@pytest.fixture
def ray(monkeypatch):
    """The stand-in, with nothing in it."""
    for name, empty in {"jobs": {}, "submitted": [], "stopped": [], "refuses": None}.items():
        monkeypatch.setattr(Cluster, name, empty)
    monkeypatch.setattr(ray_launcher, "_Cluster", Cluster)
    return Cluster


def marker(run):
    return (run.path / ".ray-job").read_text()


def claim(run, **changes):
    """The run as a training on another node has claimed it."""
    run.update_status(**{"state": "running", "pid": 1, **ELSEWHERE, **changes})


def test_a_job_holds_what_it_was_given_and_is_written_down(tiny, home, ray, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    run = new_run(tiny)
    (job,) = submit([run], address=ADDRESS, cpus=1.5, gpus=1)
    (asked,) = ray.submitted
    assert asked["submission_id"] == job
    assert (asked["entrypoint_num_cpus"], asked["entrypoint_num_gpus"]) == (1.5, 1)
    environment = asked["runtime_env"]["env_vars"]
    assert environment["MEDWB_HOME"] == str(home)
    assert int(environment["RAY_JOB_STOP_WAIT_TIME_S"]) >= 600
    assert environment["TF_NUM_INTRAOP_THREADS"] == "2"
    assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert "secret" not in str(asked)
    assert str(run.path) in asked["entrypoint"]
    status = run.status()
    assert (status["state"], status["launcher"], status["ray_job"]) == ("queued", "ray", job)
    assert (status["ray_address"], status["ray_cpus"], status["ray_gpus"]) == (ADDRESS, 1.5, 1)
    assert marker(run) == job


@pytest.mark.parametrize(
    "amount", [{"cpus": 0}, {"cpus": -1}, {"cpus": float("nan")}, {"gpus": -1}, {"gpus": float("inf")}]
)
def test_amounts_out_of_range_are_refused(tiny, ray, amount):
    run = new_run(tiny)
    with pytest.raises(RequestError, match=f"{next(iter(amount))}=.* give 0"):
        submit([run], address=ADDRESS, **amount)
    assert "ray_job" not in run.status()


def test_nothing_is_submitted_when_one_run_is_not_queued(tiny, ray):
    runs = [new_run(tiny), new_run(tiny)]
    runs[1].update_status(state="finished")
    with pytest.raises(RequestError, match=r"is finished; only a queued run"):
        submit(runs, address=ADDRESS)
    assert ray.submitted == []


def test_runs_that_the_cluster_did_not_accept_are_failed(tiny, ray):
    runs = [new_run(tiny), new_run(tiny)]
    ray.refuses = "the cluster is full"
    with pytest.raises(RequestError, match="the cluster is full"):
        submit(runs, address=ADDRESS)
    for run in runs:
        assert run.state == "failed"
        assert run.status()["error"] == "not submitted to Ray: the cluster is full"
        assert marker(run) == ""  # should the cluster have accepted it after all, the job ends at once


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_job_that_goes_on_is_left_alone(tiny, ray, status, state):
    run = new_run(tiny)
    (job,) = submit([run], address=ADDRESS)
    if state == "running":
        claim(run)
    ray.jobs[job] = details(status)
    before = run.status()
    assert check(run) == state
    assert run.status() == before


@pytest.mark.parametrize("state", ["queued", "running", "stopping"])
@pytest.mark.parametrize(
    ("info", "end", "reason"),
    [
        (None, "failed", "its head was restarted and forgot it; resume the run"),
        (details("FAILED", "first\n\nMemoryError: no\n", code=137), "failed", "failed, exit status 137: first | Mem"),
        (details("FAILED"), "failed", "its Ray job failed: it said nothing"),
        (details("SUCCEEDED", code=0), "failed", "its Ray job succeeded, exit status 0"),
        (details("STOPPED"), "stopped", "its Ray job was stopped"),
    ],
)
def test_a_job_that_ended_gives_the_run_its_end(tiny, ray, state, info, end, reason):
    run = new_run(tiny)
    (job,) = submit([run], address=ADDRESS)
    if state != "queued":
        claim(run, state=state)
    ray.jobs[job] = info
    if info is None:
        del ray.jobs[job]
    assert check(run) == end
    assert reason in run.status()["error"]
    assert marker(run) == ""


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_the_folder_is_the_truth_whatever_ray_says(tiny, ray, state):
    run = new_run(tiny)
    (job,) = submit([run], address=ADDRESS)
    run.update_status(state=state)
    for info in (None, details("FAILED", "x"), details("RUNNING")):
        ray.jobs[job] = info
        assert check(run) == state


def test_a_run_that_ends_while_ray_is_asked_keeps_its_own_end(tiny, ray, monkeypatch):
    run = new_run(tiny)
    submit([run], address=ADDRESS)
    claim(run)

    def late(self, job):
        run.update_status(state="finished")
        return details("SUCCEEDED", code=0)

    monkeypatch.setattr(Cluster, "job", late)
    assert check(run) == "finished"


def test_a_local_run_is_nothing_that_ray_is_asked_about(tiny, ray):
    run = new_run(tiny)
    assert check(run) == "queued"
    with pytest.raises(RequestError, match="was not submitted to Ray"):
        logs(run)


def test_a_job_that_waited_too_long_for_ray_is_submitted_again(tiny, ray):
    run = new_run(tiny)
    (job,) = submit([run], address=ADDRESS, cpus=2, gpus=1)
    ray.jobs[job] = details("FAILED", "failed to start within 900 seconds", "JOB_SUPERVISOR_ACTOR_START_TIMEOUT")
    assert check(run) == "queued"
    again = run.status()["ray_job"]
    assert again != job
    assert marker(run) == again
    assert ray.submitted[-1]["submission_id"] == again
    assert (ray.submitted[-1]["entrypoint_num_cpus"], ray.submitted[-1]["entrypoint_num_gpus"]) == (2, 1)
    assert check(run) == "queued"
    assert len(ray.submitted) == 2


def test_a_queued_run_is_stopped_at_once_even_when_ray_is_away(tiny, ray, monkeypatch):
    runs = [new_run(tiny), new_run(tiny)]
    jobs = submit(runs, address=ADDRESS)
    stop(runs[0])
    assert ray.stopped == [jobs[0]]

    def away(self, job):
        raise RequestError("away")

    monkeypatch.setattr(Cluster, "stop", away)
    stop(runs[1])
    for run in runs:
        assert run.state == "stopped"
        assert marker(run) == ""
        with pytest.raises(RequestError, match="is stopped; there is nothing to stop"):
            stop(run)


def test_stop_leaves_the_end_to_the_training_and_stop_now_does_not(tiny, ray):
    runs = [new_run(tiny), new_run(tiny)]
    jobs = submit(runs, address=ADDRESS)
    for run, job in zip(runs, jobs, strict=True):
        claim(run)
        ray.jobs[job] = details("RUNNING")
    stop(runs[0])
    assert runs[0].state == "running"
    assert marker(runs[0]) == jobs[0]
    stop(runs[1], now=True)
    assert runs[1].state == "stopped"
    assert marker(runs[1]) == ""


def test_stop_of_a_run_that_ray_forgot_says_so(tiny, ray):
    run = new_run(tiny)
    submit([run], address=ADDRESS)
    claim(run)
    ray.jobs.clear()
    stop(run)
    assert "forgot it" in run.status()["error"]


def test_logs_are_what_the_job_printed(tiny, ray):
    run = new_run(tiny)
    (job,) = submit([run], address=ADDRESS)
    assert logs(run) == f"words of {job}"
    ray.jobs.clear()
    with pytest.raises(RequestError, match=r"knows no job .*; what the run wrote is in .*log\.txt"):
        logs(run)


# The door itself.


def test_importing_the_launcher_loads_nothing_heavy():
    code = "import medwb.ray_launcher, sys; print(*sys.modules)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    assert "medwb.ray_launcher" in loaded
    assert not loaded & {"ray", "numpy", "pandas", "requests", "aiohttp"}


def test_a_missing_extra_names_it(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    run = new_run(tiny)
    with pytest.raises(RequestError, match=r'pip install "medwb\[ray\]"'):
        submit([run], address=ADDRESS)


@pytest.mark.parametrize("address", ["ray://head:10001", "auto", "head", "ftp://head:1", "anyscale://x"])
def test_an_address_that_is_no_dashboard_is_refused(address):
    with pytest.raises(RequestError, match="give the HTTP address of the cluster's dashboard"):
        ray_launcher._dashboard_address(address)


@pytest.mark.parametrize(
    ("given", "environment", "full"),
    [
        ("head:8265", {}, ADDRESS),
        (ADDRESS + "/", {}, ADDRESS),
        ("https://head", {}, "https://head"),
        (None, {}, "http://127.0.0.1:8265"),
        (None, {"RAY_ADDRESS": ADDRESS}, ADDRESS),
        (None, {"RAY_ADDRESS": "http://b:1", "RAY_API_SERVER_ADDRESS": ADDRESS}, ADDRESS),
        (ADDRESS, {"RAY_ADDRESS": ADDRESS + "/"}, ADDRESS),
    ],
)
def test_addresses(monkeypatch, given, environment, full):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ray_launcher._dashboard_address(given) == full


def test_an_address_that_rays_client_would_not_follow_is_refused(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://other:8265")
    with pytest.raises(RequestError, match=r"RAY_ADDRESS=http://other:8265 is set.*unset it"):
        ray_launcher._dashboard_address(ADDRESS)


def test_the_token_is_found_where_ray_finds_it(monkeypatch, tmp_path):
    assert ray_launcher._token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("from home\n")
    assert ray_launcher._token() == "from home"
    (tmp_path / "token").write_text("from a file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert ray_launcher._token() == "from a file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert ray_launcher._token() == "given"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert ray_launcher._token() is None
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(RequestError, match="name a file that holds the token"):
        ray_launcher._token()


def serve(answer):
    """A server that answers each connection with the same bytes; with none, it is silent. Returns its address."""
    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def work():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            held.append(connection)
            if answer:
                connection.recv(65536)
                connection.sendall(answer)
                connection.close()

    threading.Thread(target=work, daemon=True).start()
    return server, f"http://127.0.0.1:{server.getsockname()[1]}"


PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nPage"
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nConnection: close\r\n\r\nnot"


@needs_ray
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "did not answer within 1 seconds"),
        (PAGE, "answers, but not as a Ray dashboard does"),
        (MISSING, "is no Ray dashboard"),
        (FORBIDDEN, "refuses the token .*; set RAY_AUTH_TOKEN"),
        (None, "no Ray dashboard answers at"),
    ],
)
def test_what_does_not_answer_as_ray_does_is_one_line(tiny, monkeypatch, answer, message):
    monkeypatch.setattr(ray_launcher, "ANSWER_WITHIN_S", 1.0 if answer == b"" else 10.0)
    server, address = serve(answer)
    if answer is None:
        server.close()
    run, started = new_run(tiny), time.monotonic()
    with server, pytest.raises(RequestError, match=message) as refused:
        submit([run], address=address)
    assert "\n" not in str(refused.value)
    assert time.monotonic() - started < 10
    assert run.state == "queued"


# What a job does on its node.


def start_job(run, job, script=None, folder=None):
    """`python -m medwb.ray_launcher`, with a script in the place of the training if one is given."""
    code = "import sys; from medwb import ray_launcher\n"
    if script:
        fake = run.path / "training.sh"
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        code += f"sys.executable = {str(fake)!r}\n"
    code += "sys.exit(ray_launcher.main())"
    command = [sys.executable, "-c", code, str(folder or run.path), job]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_job_that_does_not_find_its_folder_says_what_must_be_shared(tiny, tmp_path):
    run = new_run(tiny)
    process = start_job(run, "job-1", folder=tmp_path / "elsewhere")
    _, words = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "MEDWB_HOME must lie on storage that every node of the cluster mounts under the same path" in words
    assert socket.gethostname() in words
    ray_launcher._mark(run, "job-2")
    process = start_job(run, "job-1")
    _, words = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "is the job job-2's by now" in words
    assert run.state == "queued"


def test_a_job_ends_as_its_training_does(tiny):
    run = new_run(tiny)
    ray_launcher._mark(run, "job-1")
    process = start_job(run, "job-1", 'test "$1 $2" = "-m medwb.training" && test -d "$3" && exit 7')
    process.communicate(timeout=30)
    assert process.returncode == 7
    process = start_job(run, "job-1", "kill -9 $$")
    _, words = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGKILL
    assert "the training was killed by SIGKILL" in words


def test_a_job_passes_sigterm_on_and_waits(tiny):
    run = new_run(tiny)
    ray_launcher._mark(run, "job-1")
    script = 'trap "sleep 1; touch $3/heard; exit 0" TERM; touch $3/ready; while :; do sleep 0.1; done'
    process = start_job(run, "job-1", script)
    while not (run.path / "ready").exists():
        time.sleep(0.05)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert (run.path / "heard").exists()


@pytest.mark.parametrize("way", ["given up", "another job", "folder gone"])
def test_a_job_whose_run_was_taken_away_kills_its_training(tiny, tmp_path, way):
    run = new_run(tiny)
    ray_launcher._mark(run, "job-1")
    process = start_job(run, "job-1", f'trap "" TERM; echo $$ > {tmp_path}/pid; exec sleep 60')
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()):
        time.sleep(0.05)
    if way == "folder gone":
        shutil.rmtree(run.path)
    else:
        ray_launcher._mark(run, "" if way == "given up" else "job-2")
    _, words = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGKILL
    assert "the run was taken from this job" in words
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


# A real cluster. Its agent's ports are given, because a head gives an agent that has to find some 15 seconds only.

PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
    "runtime-env-agent-port",
)


class RealCluster:
    """A Ray cluster of one node, with token authentication, that touches no other on the machine."""

    token = "0123456789abcdef" * 4

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="mwb-ray-", dir="/tmp"))  # short: sockets lie in it
        taken = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
        self.ports = dict(zip(PORTS, [each.getsockname()[1] for each in taken], strict=True))
        for each in taken:
            each.close()
        self.address = f"http://127.0.0.1:{self.ports['dashboard-port']}"

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_TMPDIR": str(self.folder),
            "MEDWB_TEST_CLUSTER": str(self.folder),
            "RAY_enable_worker_prestart": "0",  # half of what it takes to start, and no job needs it
            "RAY_enable_metrics_collection": "0",
            "RAY_worker_register_timeout_seconds": "180",
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--node-ip-address=127.0.0.1"]
        command += [f"--{name}={port}" for name, port in self.ports.items()] + ["--dashboard-host=127.0.0.1"]
        command += ["--num-cpus=2", "--num-gpus=0", "--disable-usage-stats", f"--temp-dir={self.folder}"]
        command += ["--object-store-memory=100000000"]
        for _ in range(2):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
            if "timed out during startup" not in done.stderr:
                break
            self.kill()
        else:
            pytest.skip("a Ray head needs more than 30 seconds to start here: the machine is too busy")
        assert done.returncode == 0, done.stdout + done.stderr
        deadline = time.monotonic() + 60
        while True:
            try:
                ray_launcher._Cluster(self.address)
                return
            except RequestError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    def processes(self):
        """Those that this cluster started, by the name of its folder in their environment or command."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("MEDWB_TEST_CLUSTER") == str(self.folder)
                if ours or any(str(self.folder) in word for word in process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def kill(self):
        for _ in range(20):
            processes = self.processes()
            for process in processes:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(processes, 3)
            if not processes:
                return
        raise AssertionError(f"still alive: {self.processes()}")


@pytest.fixture(scope="module")
def cluster():
    made = RealCluster()
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_TOKEN", made.token)
    try:
        made.start()
        yield made
    finally:
        made.kill()
        patch.undo()
        shutil.rmtree(made.folder, ignore_errors=True)


@pytest.fixture
def real(cluster, no_settings_of_the_user, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    return cluster


def epochs_of(run):
    return run.status().get("epoch", 0) if run.state == "running" else -1


@needs_ray
@pytest.mark.slow
def test_a_cluster_trains_refuses_a_wrong_token_stops_and_is_found_restarted(tiny, real, monkeypatch):
    runs = [new_run(tiny), new_run(tiny, architecture="fcnn-1", epochs=2)]
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong" * 10)
    with pytest.raises(RequestError, match="refuses the token"):
        submit(runs, address=real.address)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    with pytest.raises(RequestError, match="refuses the token"):
        submit(runs, address=real.address)
    assert [run.state for run in runs] == ["queued", "queued"]
    monkeypatch.setenv("RAY_AUTH_TOKEN", real.token)

    long = new_run(tiny, architecture="fcnn-1", epochs=10_000, early_stopping_patience=0)
    submit([*runs, long], address=real.address)
    for run in runs:
        wait(run, ("finished",))
        assert check(run) == "finished"
        assert run.predicted_splits() == ["train", "val", "test"]
        assert run.status()["host"] == socket.gethostname()
    assert "Running entrypoint for job" in logs(runs[1])

    deadline = time.monotonic() + 60
    while epochs_of(long) < 1:
        assert time.monotonic() < deadline, long.status()
        time.sleep(0.1)
    assert check(long) == "running"
    stop(long)
    wait(long, ("stopped",))
    assert long.predicted_splits() == ["train", "val", "test"]  # SIGTERM, and time enough

    killed, forgotten = (new_run(tiny, architecture="fcnn-1", epochs=10_000) for _ in range(2))
    submit([killed, forgotten], address=real.address)
    wait(killed, ("running",))
    stop(killed, now=True)
    assert killed.state == "stopped"
    assert killed.predicted_splits() == []
    assert not psutil.pid_exists(killed.status()["pid"])
    wait(forgotten, ("running",))

    real.kill()
    with pytest.raises(RequestError, match="no Ray dashboard answers"):
        check(forgotten)
    real.start()
    assert check(forgotten) == "failed"
    assert "its head was restarted and forgot it; resume the run" in forgotten.status()["error"]
    assert check(runs[0]) == "finished"
