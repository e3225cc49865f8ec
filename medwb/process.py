"""The process that trains a run: who it is, whether it lives, and why it ended."""

import errno
import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FULL_BYTES = 16 * 2**20
"""With less free space than this a disk counts as full: a training could write neither log nor weights."""

_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded|\[Errno 28\]|\[Errno 122\]")
_KILLED = re.compile(r"Killed process (\d+) .*?anon-rss:(\d+)kB")
_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # the kernel's log names processes by their number in this one
_TAIL_BYTES = 65_536
_QUOTED = 300  # characters of a log that an error quotes, at most


def usable_cores() -> int:
    """Cores that the system lets this process run on; a container's quota is not looked at."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_facts(pid: int) -> dict[str, Any]:
    """What tells a process from every other one, to be kept in status.json.

    `host`, `pid`, `boot_id` and `start_ticks` (when it started, in ticks since the machine did, which no clock
    that is set moves), and `oom_kills`: how many processes the machine has killed so far because memory ran out.
    """
    facts = {"host": socket.gethostname(), "pid": pid, "boot_id": _boot_id(), "start_ticks": _start_ticks(pid)}
    return {**facts, "oom_kills": _oom_kills()}


def is_alive(status: Mapping[str, Any]) -> bool | None:
    """Whether the process that a status names is alive; None when that cannot be said from here.

    It cannot for a process of another host, nor where none is named. A process that got the number of one that is
    gone is told from it by its start.
    """
    if status.get("pid") is None or status.get("host") != socket.gethostname():
        return None
    started = _start_ticks(status["pid"])
    return started is not None and started == status.get("start_ticks") and _boot_id() == status.get("boot_id")


def send_signal(status: Mapping[str, Any], number: int) -> bool:
    """Send a signal to the process that a status names, and to no other; False when it is gone.

    Raises:
        PermissionError: It is another user's.
    """
    try:
        handle = os.pidfd_open(status["pid"])  # after this its number cannot become another's
    except ProcessLookupError:
        return False
    except (AttributeError, OSError):  # not Linux, or an old one
        handle = None
    try:
        if not is_alive(status):
            return False
        if handle is None:
            os.kill(status["pid"], number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def why_ended(folder: Path, status: Mapping[str, Any], code: int | None = None) -> str:
    """Why the process of a run ended before the run was over, one line.

    Args:
        folder: The run's folder, for the last lines of its log.
        status: What was known of the process when it worked.
        code: Its exit status, negative for a signal; None when nobody was there to see it.
    """
    if status.get("boot_id") != _boot_id():
        return "the machine was restarted while it trained"
    last = " | ".join(line.strip() for line in log_tail(folder, 3).splitlines() if line.strip())[-_QUOTED:]
    if (code is None or code < 0) and (used := _killed_for_memory(status)):
        return f"out of memory: the system killed it when it held {used / 2**20:.1f} GB"
    if code is not None and code < 0 and code != -signal.SIGKILL:
        return f"the process was killed by {_signal_name(-code)}{f'; its log ends: {last}' if last else ''}"
    if code == -signal.SIGKILL or code is None:
        before, now = status.get("oom_kills"), _oom_kills()
        memory = before is not None and now is not None and now > before
        if memory:
            return "the process was killed by SIGKILL; probably out of memory: the system has killed for it meanwhile"
        if code is not None:
            return "the process was killed by SIGKILL"
    if is_full(folder) or _NO_SPACE.search(last):
        return f"the disk is full: free some space, then `medwb resume {folder.name}`"
    ended = "the process is gone: it was killed, or crashed" if code is None else f"it ended with status {code}"
    return f"{ended}; its log ends: {last}" if last else ended


def log_tail(folder: Path, lines: int) -> str:
    """The last lines of a run's log.txt; "" when there is none. Reads no more than its end."""
    try:
        with (folder / "log.txt").open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - _TAIL_BYTES))
            return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-lines:])
    except OSError:
        return ""


def is_full(folder: Path) -> bool:
    """Whether the disk below a folder is full; False where that cannot be found out."""
    try:
        facts = os.statvfs(folder)
    except OSError:
        return False
    no_files = facts.f_files > 0 and facts.f_favail == 0  # file systems without a table of files say 0 of 0
    return facts.f_bavail * facts.f_frsize < FULL_BYTES or no_files


def says_full(error: object) -> bool:
    """Whether an error, or the text of one, is about a full disk."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or bool(_NO_SPACE.search(str(error)))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _boot_id() -> str:
    """What the kernel drew when the machine started; "" where it draws nothing."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def _start_ticks(pid: int) -> int | None:
    """When a process started; None when there is none, or it has ended and is only not collected yet."""
    if not Path("/proc/self/stat").exists():
        return _start_ticks_elsewhere(pid)
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()  # a name may hold brackets and spaces
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None


def _start_ticks_elsewhere(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(100 * process.create_time())
    except psutil.Error:
        return None


def _oom_kills() -> int | None:
    """How many processes of our memory cgroup the system has killed for want of memory; None where nobody counts."""
    for path in _counters():
        if found := re.search(r"^oom_kill (\d+)$", _read(path), re.M):
            return int(found[1])
    return None


def _counters() -> Iterator[str]:
    """Files that count such kills, the most telling first: cgroup v2, v1, the whole machine."""
    for line in _read("/proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            yield from (f"/sys/fs/cgroup{path}/memory.events", "/sys/fs/cgroup/memory.events")
        elif "memory" in controllers.split(","):
            yield from (f"/sys/fs/cgroup/memory{path}/memory.oom_control", "/sys/fs/cgroup/memory/memory.oom_control")
    yield "/proc/vmstat"


def _killed_for_memory(status: Mapping[str, Any]) -> int | None:
    """How many kB the process held when the kernel killed it for want of memory; None when its log says no such."""
    try:
        if os.readlink("/proc/self/ns/pid") != _FIRST_PID_NAMESPACE:  # noqa: PTH115
            return None
        asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        start_s = (status.get("start_ticks") or 0) / os.sysconf("SC_CLK_TCK") - asleep
    except (OSError, AttributeError, ValueError):
        return None
    for seconds, text in _kernel_log():
        found = _KILLED.search(text)
        if found and int(found[1]) == status.get("pid") and seconds > start_s - 1:
            return int(found[2])
    return None


def _kernel_log() -> Iterator[tuple[float, str]]:
    """Records of the kernel's log that may be read: seconds since the machine started, text."""
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        while True:
            try:
                record = os.read(log, 8192).decode("utf-8", "replace")
            except BrokenPipeError:  # it was overwritten while we read; the next one is there
                continue
            except OSError:  # the end
                return
            facts, _, text = record.partition(";")
            microseconds = facts.split(",")[2:3]
            if microseconds and microseconds[0].isdigit():
                yield int(microseconds[0]) / 1e6, text
    finally:
        os.close(log)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
