"""A SLURM of our own on this machine: munged, slurmctld and three slurmd, all in one folder.

No accounting, no cgroups, no init system. All nodes are this host, and all processes are seen by
all; each node has its own slurmd, which may be killed and started again.
"""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
NODES = ("n1", "n2", "n3")
CPUS = 3
SBIN = ("/usr/sbin", "/sbin")

CONF = """\
ClusterName=test{port}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory,CR_LLN
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
InactiveLimit=0
KillWait=5
MinJobAge=3600
MaxArraySize=4
OverTimeLimit=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=normal Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str | None:
    """Return why there can be no cluster here, None if there can."""
    path = os.pathsep.join([os.environ["PATH"], *SBIN])
    lacking = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if lacking:
        return f"no {', '.join(lacking)}: Debian's slurmctld slurmd slurm-client munge have them"
    if os.getuid() != 0:
        return "SLURM's daemons must be started as root"
    return None


def wait_for(condition: Callable[[], object], seconds: float = 60, what: str = "") -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds} s in vain: {what}"
        time.sleep(0.1)


class Cluster:
    """The cluster; ``env`` is what a process needs to use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
        self.env["PATH"] = os.pathsep.join([self.env["PATH"], *SBIN])
        self.env["SLURM_CONF"] = str(folder / "slurm.conf")

    def start(self) -> None:
        self.folder.chmod(0o755)  # munge insists
        host, port = socket.gethostname().partition(".")[0], _free_ports(1 + len(NODES))
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port + 1 + number} "
            f"CPUs={CPUS} RealMemory=4000 State=UNKNOWN"
            for number, node in enumerate(NODES)
        ]
        text = CONF.format(folder=self.folder, host=host, port=port, nodes="\n".join(nodes))
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "state").mkdir()
        (self.folder / "key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "key").chmod(0o600)
        options = {
            "key-file": "key", "seed-file": "seed", "log-file": "munged.log",
            "pid-file": "munged.pid", "socket": "munge.sock",
        }  # fmt: skip
        self.call("munged", *(f"--{name}={self.folder / file}" for name, file in options.items()))
        self.call("slurmctld", "-f", self.env["SLURM_CONF"])
        wait_for(lambda: _answers(port), what="slurmctld")
        for node in NODES:
            self.start_node(node)
        wait_for(lambda: self.idle() == set(NODES), what=self.call("sinfo", "-N"))

    def stop(self) -> None:
        with contextlib.suppress(AssertionError, subprocess.SubprocessError):
            self.call("scancel", "--user=root")
            wait_for(lambda: not self.call("squeue", "-h"), 20)
        for pid in self.daemons():
            os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: not self.daemons(), 20)
        for pid in self.leftovers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def daemons(self) -> list[int]:
        """Return the daemons that live; a killed one's file may name a stranger by now."""
        found = []
        for file in self.folder.glob("*.pid"):
            with contextlib.suppress(ValueError, OSError):
                pid = int(file.read_text())
                if f"{self.folder}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def leftovers(self) -> list[int]:
        """Return the processes of jobs, and those that watch over them, that still live."""
        ours, found = f"SLURM_CONF={self.env['SLURM_CONF']}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "environ").read_bytes().split(b"\0")
                watcher = (folder / "cmdline").read_bytes().startswith(b"slurmstepd")
                if ours in words and (
                    watcher or any(w.startswith(b"SLURM_JOB_ID=") for w in words)
                ):
                    found.append(int(folder.name))
        return found

    def processes(self, job: str) -> tuple[list[int], list[int]]:
        """Return the processes that watch over a job (its single number), and its own."""
        watchers, own = [], []
        for pid in self.leftovers():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if line.startswith(f"slurmstepd: [{job}.".encode()):
                    watchers.append(pid)
                elif f"SLURM_JOB_ID={job}".encode() in (
                    Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                ):
                    own.append(pid)
        return watchers, own

    def python(self, job: str) -> list[int]:
        """Return the processes of a job that run Python, the run's own."""
        own = self.processes(job)[1]
        return [
            p
            for p in own
            if b"submitit" in Path(f"/proc/{p}/cmdline").read_bytes()
            and b"srun" not in Path(f"/proc/{p}/cmdline").read_bytes()[:20]
        ]

    def start_node(self, node: str) -> None:
        (self.folder / f"spool-{node}").mkdir(exist_ok=True)
        self.call("slurmd", "-f", self.env["SLURM_CONF"], "-N", node)

    def kill_node(self, node: str, *, jobs: bool) -> None:
        """Kill a node's slurmd, and all of its jobs' processes if the whole node is to go down."""
        os.kill(int((self.folder / f"slurmd-{node}.pid").read_text()), signal.SIGKILL)
        if not jobs:
            return
        for job in self.call("squeue", "-h", "-w", node, "-o", "%A").split():
            for group in self.processes(job):  # the watchers first: they must not report the end
                for pid in group:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def idle(self) -> set[str]:
        lines = self.call("sinfo", "-h", "-N", "-o", "%N %T").splitlines()
        return {line.split()[0] for line in lines if line.split()[1] == "idle"}

    def queue(self) -> list[list[str]]:
        """Return number, state and node of all queued and running jobs."""
        lines = self.call("squeue", "-h", "-r", "-o", "%i|%T|%N|%j").splitlines()
        return [line.split("|") for line in lines]

    def call(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [shutil.which(program, path=self.env["PATH"]) or program, *arguments],
            env=self.env, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stderr}"
        return done.stdout


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _free_ports(count: int) -> int:
    """Return the first of so many free ports, below those that the kernel gives out."""
    for _ in range(100):
        first = random.SystemRandom().randrange(12000, 30000)
        if not any(_answers(first + offset) for offset in range(count)):
            return first
    raise RuntimeError("no free ports")
