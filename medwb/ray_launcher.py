"""Runs as jobs of a Ray cluster that is there already.

`submit` hands runs to the cluster by Ray Jobs, over the HTTP address of its dashboard. A job is

    python -m medwb.ray_launcher RUN_DIR JOB

which holds the run's folder and the job against each other and starts `python -m medwb.training RUN_DIR`. Every node
must see MEDWB_HOME under the same path (shared storage), and have medwb: in the Python that submits, if that path
exists on the node, otherwise in the `python` of the node's PATH. The run's folder is the truth about the run; Ray is
asked only about runs whose folder does not say how they ended.

The folder's file `.ray-job` names the job that may write to it. A job that finds another name there kills its
training: so "stop now" reaches any node, and a job that was given up cannot go on beside the one that replaced it.

Ray honours RAY_AUTH_MODE, RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH and ~/.ray/auth_token; so does this module.
"""

import math
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from medwb.errors import RequestError, short

if TYPE_CHECKING:
    from medwb.runs import Run, State

ANSWER_WITHIN_S = 10.0
STOP_GRACE_S = (
    900  # Ray kills a job that goes on so long after SIGTERM; a checkpoint and the answers take a part of it
)
_LOOK_EVERY_S = 1.0
_MARKER = ".ray-job"
_ACTIVE = ("queued", "running", "stopping")
_ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_USUAL_ADDRESS = "http://127.0.0.1:8265"
_PASSED_ON = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MEDWB_TENSORBOARD")  # no secrets: Ray shows them
_INSTALL = 'pip install "medwb[ray]"'

Answer = TypeVar("Answer")


def submit(runs: "Sequence[Run]", *, address: str | None = None, cpus: float = 1, gpus: float = 0) -> list[str]:
    """Submit queued runs to a Ray cluster, a job each; returns when the cluster has accepted them.

    `status.json` then holds `launcher` ("ray"), `ray_job`, `ray_address`, `ray_cpus` and `ray_gpus`.

    Args:
        runs: In state queued; their folders on storage that every node sees under the same path.
        address: Of the cluster's dashboard, such as "http://head:8265"; None takes RAY_API_SERVER_ADDRESS, else
            RAY_ADDRESS, else port 8265 of this machine.
        cpus: Cores that each job holds while it trains, which is also how many threads TensorFlow takes.
        gpus: GPUs that each job holds.

    Returns:
        The id of each run's job.

    Raises:
        RequestError: The extra is missing, the address does not answer within 10 seconds or refuses the token, an
            amount is no number of its range, a run is not queued. A run that the cluster did not accept is failed.
    """
    for name, amount, least in (("cpus", cpus, 0.01), ("gpus", gpus, 0.0)):
        if not (math.isfinite(amount) and amount >= least):
            raise RequestError(f"{name}={amount} is no amount that a job can hold; give {least:g} or more")
    for run in runs:
        if (state := _stored(run).get("state")) != "queued":
            raise RequestError(f"run {run.id} is {state}; only a queued run can be submitted to Ray")
    cluster = _Cluster(address)
    jobs = []
    for position, run in enumerate(runs):
        try:
            jobs.append(_submit(cluster, run, cpus, gpus))
        except RequestError as error:
            for left in runs[position:]:
                _mark(left, "")
                left.update_status(state="failed", launcher="ray", error=f"not submitted to Ray: {error}")
            raise
    return jobs


def check(run: "Run") -> "State":
    """Ask the cluster about a run that is not over, and give the run its end where the cluster knows of one.

    A run whose job failed, or is unknown because the head was restarted, becomes failed, with the reason and the
    job's last lines; one whose job was stopped becomes stopped. A job that Ray gave up because the cluster was busy
    for too long (15 minutes, unless the head was started with another RAY_JOB_START_TIMEOUT_SECONDS) is submitted
    again, for the run's place in the queue is ours to keep. A run whose folder says how it ended is left alone.

    Returns:
        The run's state now.

    Raises:
        RequestError: As `submit`; the run is left as it is.
    """
    status = _stored(run)
    if status.get("launcher") != "ray" or status.get("state") not in _ACTIVE or "ray_job" not in status:
        return run.state
    job, cluster = status["ray_job"], _Cluster(status["ray_address"])
    info = cluster.job(job)
    end = str(info.status) if info else "unknown"
    if end in ("PENDING", "RUNNING"):
        return run.state
    if end == "FAILED" and status["state"] == "queued" and "START_TIMEOUT" in str(info.error_type):
        _submit(cluster, run, status["ray_cpus"], status["ray_gpus"], instead_of=job)
    elif end == "unknown":
        reason = f"Ray at {cluster.address} knows no job {job}: its head was restarted and forgot it"
        _settle(run, job, state="failed", error=f"{reason}; resume the run")
    elif end == "STOPPED":
        _settle(run, job, state="stopped", error="its Ray job was stopped before the training could end by itself")
    else:
        code = "" if info.driver_exit_code is None else f", exit status {info.driver_exit_code}"
        _settle(run, job, state="failed", error=f"its Ray job {end.lower()}{code}: {_last_lines(info.message)}")
    return run.state


def stop(run: "Run", now: bool = False) -> None:
    """Stop a run that was submitted to Ray.

    A queued one is stopped at once. One at work gets SIGTERM: it ends after its batch, keeps its weights and answers,
    and becomes stopped by itself; Ray kills it after 15 minutes. With `now` it is killed, and stopped when this
    returns.

    Raises:
        RequestError: The run is over, or is no run of Ray's; the cluster does not answer (see `submit`).
    """
    if run.cancel():
        _mark(run, "")
        status = _stored(run)
        if "ray_job" in status:
            with suppress(RequestError):  # the job would find the run stopped and end; this only clears Ray's queue
                _Cluster(status["ray_address"]).stop(status["ray_job"])
        return
    status = _stored(run)
    if status.get("state") not in _ACTIVE or "ray_job" not in status:
        raise RequestError(f"run {run.id} is {status.get('state')}; there is nothing to stop on Ray")
    job = status["ray_job"]
    try:
        cluster = _Cluster(status["ray_address"])
        at_work = cluster.stop(job)
    finally:
        if now:
            _mark(run, "")
    if not at_work:
        check(run)
    elif now:
        deadline = time.monotonic() + ANSWER_WITHIN_S
        while time.monotonic() < deadline and (info := cluster.job(job)) and str(info.status) == "RUNNING":
            time.sleep(0.2)
        _settle(run, job, state="stopped", error=None)


def logs(run: "Run") -> str:
    """What the run's job printed, by the cluster's word: also what never reached the run's own `log.txt`.

    Raises:
        RequestError: The run was not submitted to Ray; the cluster does not answer (see `submit`) or knows no job.
    """
    status = _stored(run)
    if "ray_job" not in status:
        raise RequestError(f"run {run.id} was not submitted to Ray; its words are in {run.path / 'log.txt'}")
    cluster = _Cluster(status["ray_address"])
    text = cluster.ask(lambda client: client.get_job_logs(status["ray_job"]))
    if text is None:
        raise RequestError(
            f"Ray at {cluster.address} knows no job {status['ray_job']}; what the run wrote is in "
            f"{run.path / 'log.txt'}"
        )
    return str(text)


class _Cluster:
    """The one door to Ray's client: nothing takes longer than 10 seconds, and whatever it raises is one line."""

    def __init__(self, address: str | None) -> None:
        try:
            import aiohttp  # noqa: F401  a bare `ray` lacks it, and with it the client
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise RequestError(f"Ray's client is not installed here ({error}); {_INSTALL}") from None
        self.address = _dashboard_address(address)
        token = _token()
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self._client: Any = None
        self._client = self.ask(lambda _: JobSubmissionClient(self.address, headers=headers))
        if self._client is None:
            raise RequestError(
                f"{self.address} is no Ray dashboard; give the address of one, such as {_USUAL_ADDRESS}"
            )

    def ask(self, question: Callable[[Any], Answer]) -> Answer | None:
        """The answer to a question to the client; None when there is no such job."""
        # In a thread, because the client has no time limit, and a name that cannot be resolved knows none either.
        outcome: list[Answer | Exception] = []

        def work() -> None:
            try:
                outcome.append(question(self._client))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(ANSWER_WITHIN_S)
        if not outcome:
            raise RequestError(
                f"Ray at {self.address} did not answer within {ANSWER_WITHIN_S:g} seconds; is the cluster up?"
            )
        if not isinstance(answer := outcome[0], Exception):
            return answer
        text = " ".join(str(answer).split())
        if "status code 404" in text or "returned 404" in text:
            return None
        if type(answer).__name__ == "AuthenticationError":
            way_out = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to its file, to the token that the head has"
            raise RequestError(f"Ray at {self.address} refuses the token ({text.split(' - ')[0][:80]}); {way_out}")
        if isinstance(answer, ValueError | KeyError):
            raise RequestError(f"{self.address} answers, but not as a Ray dashboard does ({type(answer).__name__})")
        if isinstance(answer, OSError):
            raise RequestError(
                f"no Ray dashboard answers at {self.address}; start the cluster, or give the address of its head, "
                f"such as {_USUAL_ADDRESS}"
            )
        raise RequestError(f"Ray at {self.address} did not do it: {type(answer).__name__}: {text[:300]}")

    def job(self, job: str) -> Any:
        """Ray's JobDetails, or None."""
        return self.ask(lambda client: client.get_job_info(job))

    def stop(self, job: str) -> bool:
        """Ask Ray to end a job; False when it knows no such job, or it has ended."""
        return bool(self.ask(lambda client: client.stop_job(job)))


def _dashboard_address(address: str | None) -> str:
    """The address in full; Ray's client would follow the environment instead of what it is given."""
    preferred = next(((name, os.environ[name]) for name in _ADDRESS_VARIABLES if os.environ.get(name)), None)
    given = address or (preferred[1] if preferred else _USUAL_ADDRESS)
    full = given.rstrip("/") if "://" in given else f"http://{given.rstrip('/')}"
    scheme, _, place = full.partition("://")
    if scheme not in ("http", "https") or (":" not in place and address is not None and "://" not in address):
        way_out = f"give the HTTP address of the cluster's dashboard, such as {_USUAL_ADDRESS}"
        raise RequestError(f"Ray address {short(given)}: {way_out}")
    if preferred and (preferred[1] if "://" in preferred[1] else f"http://{preferred[1]}").rstrip("/") != full:
        raise RequestError(
            f"{preferred[0]}={preferred[1]} is set, and Ray's client prefers it to the address {full}; unset it"
        )
    return full


def _token() -> str | None:
    """The token where Ray looks for it; read anew each time, which Ray's client does not do."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    file = Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeError) as error:
        if named:
            raise RequestError(f"RAY_AUTH_TOKEN_PATH={named}: {error}; name a file that holds the token") from None
        return None


def _submit(cluster: _Cluster, run: "Run", cpus: float, gpus: float, instead_of: str | None = None) -> str:
    """Submit one run. The job's id is written down first: whatever happens then, `check` can ask about it."""
    job = f"medwb-{run.id}-{secrets.token_hex(3)}"
    facts = {"launcher": "ray", "ray_job": job, "ray_address": cluster.address, "ray_cpus": cpus, "ray_gpus": gpus}
    if not _change(run, instead_of, job, facts, ("queued",)):
        raise RequestError(f"run {run.id} was stopped or submitted by somebody else meanwhile")
    environment = {
        "MEDWB_HOME": str(run.path.parent.parent),
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_GRACE_S),
        "TF_NUM_INTRAOP_THREADS": str(math.ceil(cpus)),
        **{name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)},
    }
    cluster.ask(
        lambda client: client.submit_job(
            entrypoint=_entrypoint(run, job),
            submission_id=job,
            runtime_env={"env_vars": environment},
            metadata={"medwb_run": run.id},
            entrypoint_num_cpus=cpus,
            entrypoint_num_gpus=gpus or None,
        )
    )
    return job


def _entrypoint(run: "Run", job: str) -> str:
    """The shell line of a job: this Python where the node has it under the same path, else the node's own."""
    here = shlex.quote(sys.executable)
    words = shlex.join(["-m", "medwb.ray_launcher", str(run.path), job])
    return f'P={here}; [ -x "$P" ] || P=python; exec "$P" {words}'


def _stored(run: "Run") -> dict[str, Any]:
    """`status.json` as it was written: `Run.status` already calls a run failed whose process is gone from here."""
    from medwb.status import stored_status

    try:
        return stored_status(run.path)
    except (OSError, ValueError):
        return run.status()


def _settle(run: "Run", job: str, **end: str | None) -> None:
    """Give a run its end, unless it has one by now, or belongs to another job."""
    _change(run, job, "", end, _ACTIVE)


def _change(run: "Run", job: str | None, new_job: str, changes: Mapping[str, Any], only_from: Sequence[str]) -> bool:
    """Change `status.json` and the marker in one step, if the run is still that job's and in one of these states."""
    from medwb.status import edit_status

    def edit(status: dict[str, Any]) -> dict[str, Any] | None:
        if status.get("state") not in only_from or status.get("ray_job") != (job or status.get("ray_job")):
            return None
        _mark(run, new_job)
        return {**status, **changes}

    return edit_status(run.path, edit)


def _mark(run: "Run", job: str) -> None:
    """Name the job that may write to a run's folder; "" for none."""
    # Written in place, not replaced: a network file system shows a change of an open file's content at the next open.
    (run.path / _MARKER).write_text(job, encoding="utf-8")


def _last_lines(message: str | None, lines: int = 4) -> str:
    """The end of what a job printed, as one line."""
    kept = [line.strip() for line in (message or "").splitlines() if line.strip()]
    return " | ".join(kept[-lines:])[-600:] or "it said nothing"


def _marked(folder: Path) -> str | None:
    """The job that may write to a folder; None while that cannot be read."""
    try:
        return (folder / _MARKER).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeError):  # a network file system that is away for a moment
        return None


def main() -> int:
    """What a job does on its node. Exit status: the training's own, 2 when the folder is not the one submitted."""
    if len(sys.argv) != 3:
        print("usage: python -m medwb.ray_launcher RUN_DIR JOB   (Ray starts it)", file=sys.stderr)
        return 2
    folder, job = Path(sys.argv[1]), sys.argv[2]
    if (found := _marked(folder)) != job:
        reason = (
            f"is the job {found}'s by now"
            if found
            else "is not the folder that was submitted, or was given up since; MEDWB_HOME must lie on storage that "
            "every node of the cluster mounts under the same path"
        )
        print(f"medwb: {folder} on the node {socket.gethostname()} {reason}", file=sys.stderr)
        return 2
    training = subprocess.Popen([sys.executable, "-m", "medwb.training", str(folder)], stdin=subprocess.DEVNULL)

    def forward(number: int, frame: FrameType | None) -> None:
        training.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    while True:
        try:
            code = training.wait(_LOOK_EVERY_S)
        except subprocess.TimeoutExpired:
            if _marked(folder) not in (job, None):
                print("medwb: the run was taken from this job; its training is killed", file=sys.stderr)
                training.kill()
        else:
            break
    if code < 0:
        print(f"medwb: the training was killed by {signal.Signals(-code).name}", file=sys.stderr)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
