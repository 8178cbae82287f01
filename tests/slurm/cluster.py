"""A throw-away SLURM on this one machine: one controller, several node daemons, pretended GPUs.

Needs root. Nothing outside its own folder is used, except what SLURM insists on: key and socket of
munge, and links in ``/etc/slurm`` (the plugin's job steps know no ``SLURM_CONF``), which are
removed at the end. A machine with a SLURM of its own is left alone.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MUNGE_KEY = Path("/etc/munge/munge.key")
SETTINGS = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol")
_CLONE_OF_NULL = os.makedev(1, 3)


def missing_programs() -> list[str]:
    """What of SLURM and munge is not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Poll until `condition` holds.

    Raises:
        TimeoutError: It did not in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)


@dataclass(frozen=True)
class Job:
    """A line of squeue."""

    id: str
    name: str
    state: str
    node: str
    comment: str
    restarts: int

    @property
    def stage(self) -> str:
        """The rule it runs; the plugin writes it into the comment."""
        return self.comment.removeprefix("rule_").partition("_wildcards")[0]


class Cluster:
    """Starts and stops the daemons.

    Args:
        root: Empty folder for configuration, state and logs.
        nodes: Number of node daemons.
        cpus: Per node, pretended.
        gpus: Per node, pretended.
        memory: Megabytes per node, pretended.
    """

    def __init__(
        self, root: Path, *, nodes: int = 3, cpus: int = 8, gpus: int = 2, memory: int = 1_000_000
    ) -> None:
        self.root = root
        self.names = [f"n{i}" for i in range(1, nodes + 1)]
        self._cpus, self._gpus, self._memory = cpus, gpus, memory
        self._ports = free_ports(nodes + 1)
        self._munged: subprocess.Popen | None = None
        self._daemons: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Bring everything up and wait until all nodes are idle.

        Raises:
            FileExistsError: The machine belongs to a SLURM already.
        """
        for name in ("state", "log", *(f"spool/{node}" for node in self.names)):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self._start_munge()
        self._write_configuration()
        self._link_configuration()
        self._spawn("slurmctld", "slurmctld", "-D")
        for node in self.names:
            self.start_node(node)
        wait_until(lambda: self._states().count("idle") == len(self.names), 60, "nodes idle")

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._spawn(node, "slurmd", "-D", "-N", node)

    def stop(self) -> None:
        """End all jobs and all daemons that were started here."""
        for job in self.jobs("pending", "running", "completing", "suspended"):
            self.run("scancel", job.id, check=False)
        # What is left then, the daemons take with them.
        with contextlib.suppress(TimeoutError, subprocess.SubprocessError, RuntimeError):
            wait_until(lambda: not self.jobs("running", "completing"), 40, "jobs ended")
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        if self._munged is not None:
            self._munged.terminate()
            self._munged.wait(timeout=20)
        for name in FILES:
            if self._is_ours(SETTINGS / name):
                (SETTINGS / name).unlink()

    def run(self, *command: str, check: bool = True) -> str:
        """Call a SLURM command; returns what it says."""
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, *states: str) -> list[Job]:
        """Jobs in one of the states (all there were, if none is given), in order of submission."""
        wanted = ",".join(states) or "all"
        form = "JobID:|,Name:|,State:|,NodeList:|,Comment:|,RestartCnt:|"
        form = form.replace(":|", ":255")
        lines = self.run("squeue", "--noheader", "--states", wanted, "--Format", form).splitlines()
        cells = ([line[i : i + 255].strip() for i in range(0, 6 * 255, 255)] for line in lines)
        found = [Job(*parts[:5], restarts=int(parts[5] or 0)) for parts in cells]
        return sorted(found, key=lambda job: int(job.id))

    def logs(self) -> str:
        """The end of every daemon's log."""
        paths = sorted((self.root / "log").iterdir())
        return "".join(f"\n--- {path.name}\n{path.read_text()[-2000:]}" for path in paths)

    def _states(self) -> list[str]:
        names = ",".join(self.names)
        return self.run(
            "sinfo", "-h", "-N", "-p", "gpu", "-n", names, "-o", "%T", check=False
        ).split()

    def _spawn(self, name: str, *command: str) -> None:
        with (self.root / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _start_munge(self) -> None:
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
            return  # somebody runs it already
        if not MUNGE_KEY.exists() or not MUNGE_KEY.stat().st_size:
            MUNGE_KEY.write_bytes(secrets.token_bytes(1024))
            MUNGE_KEY.chmod(0o400)
            shutil.chown(MUNGE_KEY, "munge", "munge")
        for folder in ("/run/munge", "/var/lib/munge", "/var/log/munge"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            shutil.chown(folder, "munge", "munge")
        Path("/run/munge").chmod(0o755)
        self._munged = subprocess.Popen(
            ["munged", "--foreground", "--force"],
            user="munge",
            group="munge",
            extra_groups=[],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        works = ["munge", "-n"]
        wait_until(
            lambda: subprocess.run(works, capture_output=True, check=False).returncode == 0,
            20,
            "munged",
        )

    def _write_configuration(self) -> None:
        host = socket.gethostname().partition(".")[0]
        for number in range(self._gpus):
            device = self.root / f"gpu{number}"
            if not device.exists():  # anything that is not a real file is refused as a GPU
                os.mknod(device, 0o600 | stat.S_IFCHR, _CLONE_OF_NULL)
        devices = f"{self.root}/gpu[0-{self._gpus - 1}]" if self._gpus > 1 else f"{self.root}/gpu0"
        names = ",".join(self.names)
        (self.root / "gres.conf").write_text(f"NodeName={names} Name=gpu Type=toy File={devices}\n")
        (self.root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self._cpus}"
            f" Sockets=1 CoresPerSocket={self._cpus} ThreadsPerCore=1 RealMemory={self._memory}"
            f" Gres=gpu:toy:{self._gpus} Feature=card_of_{node} State=UNKNOWN"
            for node, port in zip(self.names, self._ports[1:], strict=True)
        ]
        partitions = [
            f"PartitionName={name} Nodes={names} PriorityTier={tier} PreemptMode={mode} {more}"
            for name, tier, mode, more in (
                ("gpu", 10, "REQUEUE", "Default=YES GraceTime=30"),
                ("cpu", 10, "REQUEUE", "GraceTime=30"),
                ("urgent", 100, "OFF", ""),
            )
        ]
        lines = [*self._general(host), *nodes, *partitions]
        (self.root / "slurm.conf").write_text("\n".join(lines) + "\n")

    def _link_configuration(self) -> None:
        SETTINGS.mkdir(exist_ok=True)
        for name in FILES:
            link = SETTINGS / name
            if link.is_symlink() and not self._answers():
                link.unlink()  # left by a killed test
            link.symlink_to(self.root / name)

    def _answers(self) -> bool:
        ping = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, check=False)
        return " UP" in ping.stdout

    def _is_ours(self, link: Path) -> bool:
        return link.is_symlink() and link.readlink().parent == self.root

    def _general(self, host: str) -> list[str]:
        root = self.root
        settings = {
            "ClusterName": "toy",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": self._ports[0],
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "CryptoType": "crypto/munge",
            "StateSaveLocation": root / "state",
            "SlurmdSpoolDir": f"{root}/spool/%n",
            "SlurmctldPidFile": root / "slurmctld.pid",
            "SlurmdPidFile": f"{root}/slurmd-%n.pid",
            "SlurmctldLogFile": root / "log/slurmctld.log",
            "SlurmdLogFile": f"{root}/log/slurmd-%n.log",
            "SlurmdParameters": "config_overrides",  # the machine has less than the nodes claim
            "ProctrackType": "proctrack/linuxproc",  # no cgroups
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",  # no slurmdbd, hence squeue
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "SchedulerType": "sched/backfill",
            "SchedulerParameters": "sched_interval=2,bf_interval=2,batch_sched_delay=0",
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "JobRequeue": 1,
            "KillWait": 30,
            "MinJobAge": 900,
            "ReturnToService": 1,
            "SlurmdTimeout": 60,
            "MpiDefault": "none",
            "GresTypes": "gpu",
        }
        return [f"{name}={value}" for name, value in settings.items()]
