"""Running a training: one process or many, in the foreground or the background."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.logging import RichHandler

from tenkizu.core.errors import ConfigError, TenkizuError, TrainingError

if TYPE_CHECKING:
    from tenkizu.core.run_config import RunConfig, TrainConfig

log = logging.getLogger(__name__)

LIGHTNING_LOGGERS = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric")

_CHILD = "TENKIZU_CHILD"


@dataclass(frozen=True)
class Place:
    """This process among those that train together, as ``torchrun`` announces it.

    Attributes:
        rank: 0 to world - 1.
        world: number of processes.
        local_world: number of them on this machine.
        child: whether `run_processes` started it, so that its parent looks after the run.
    """

    rank: int
    world: int
    local_world: int
    child: bool = False

    @classmethod
    def here(cls) -> Self:
        """Read the launcher's environment; (0, 1, 1) without a launcher."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return cls(0, 1, 1)
        return cls(
            int(os.environ["RANK"]),
            int(os.environ["WORLD_SIZE"]),
            int(os.environ["LOCAL_WORLD_SIZE"]),
            _CHILD in os.environ,
        )


def processes(train: "TrainConfig") -> int:
    """Processes to start on this machine: as configured, else one a visible GPU, else one.

    Raises:
        ConfigError: more are asked for than there are GPUs, where there are any.
    """
    import torch

    gpus = torch.cuda.device_count()
    if train.devices == "auto":
        return max(gpus, 1)
    if 0 < gpus < train.devices:
        raise ConfigError(
            "not that many GPUs", variable="train.devices", found=train.devices, expected=gpus
        )
    return train.devices


def run_processes(count: int, arguments: list[str]) -> None:
    """Run ``tenkizu ARGUMENTS`` in ``count`` processes on this machine and wait for them.

    torchrun finds a free port, and ends all processes when one dies or when it is interrupted.

    Raises:
        TrainingError: a process failed; what it printed says why.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, f"--nproc-per-node={count}", "-m", "tenkizu", *arguments]
    threads = max((os.cpu_count() or 1) // count, 1)
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, _CHILD: "1"}
    with subprocess.Popen(command, env=environment) as launched:
        try:
            code = launched.wait()
        except BaseException:
            launched.send_signal(signal.SIGTERM)
            try:
                launched.wait(timeout=20)
            except subprocess.TimeoutExpired:
                launched.kill()
            raise
    if code:
        raise TrainingError(
            "a training process failed",
            found=f"exit code {code}",
            next_step="read the error above and run*.log in the run folder, then --resume",
        )


def log_to(folder: Path, rank: int) -> None:
    """Send the log to a file of the run folder, on rank 0 to the terminal too.

    Rank 0 writes ``run.log``, the others ``run.rank1.log`` and so on; all append. The file of an
    earlier run in the same process is let go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger("tenkizu")
    lightning = [logging.getLogger(name) for name in LIGHTNING_LOGGERS]
    for logger in (root, *lightning):
        for old in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
            logger.removeHandler(old)
            old.close()
    if rank:
        root.handlers = []
    name = "run.log" if rank == 0 else f"run.rank{rank}.log"
    handler = logging.FileHandler(folder / name, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    root.debug("process %d on %s, rank %d", os.getpid(), socket.gethostname(), rank)
    for logger in lightning:
        logger.addHandler(handler)
    quieten_lightning()


def quieten_lightning() -> None:
    """Let Lightning's warnings through, and not what it announces at INFO: hardware and tips.

    To be called after it is imported too, since it sets its own level then.
    """
    for name in LIGHTNING_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def log_to_terminal(verbose: bool) -> None:
    """Show the package's log on the error stream, as plain lines when that is not a terminal."""
    root = logging.getLogger("tenkizu")
    root.setLevel(logging.DEBUG)
    root.propagate = False
    console = Console(stderr=True)
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(
            console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S"
        )
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.handlers = [handler]


def supervised(run: "RunConfig", work: Callable[[], Path]) -> Path:
    """Do the work of a run and call ``run.on_finish`` with its outcome, whatever that is.

    The command gets ``TENKIZU_STATUS`` (``finished``, ``failed``, ``interrupted``),
    ``TENKIZU_RUN_DIR`` and ``TENKIZU_MESSAGE`` in its environment. Its own failure is logged and
    changes nothing. A termination signal counts as an interruption, so that a batch system's
    time limit is reported too.

    Args:
        run: names the folder and the command.
        work: returns the run folder.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread, where signals cannot be handled
        previous = None
    status, message = "failed", ""
    try:
        folder = work()
        status, message = "finished", f"run {run.name} finished"
        return folder
    except KeyboardInterrupt:
        status, message = "interrupted", f"run {run.name} was interrupted; continue with --resume"
        raise
    except SystemExit as stop:
        # Lightning turns an interruption of the fit into an exit.
        status, message = "interrupted", f"run {run.name} was interrupted; continue with --resume"
        raise KeyboardInterrupt from stop
    except TenkizuError as error:
        message = str(error)
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        raise
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
        if run.on_finish:
            _call(run.on_finish, run.dir / run.name, status, message)


def _call(command: str, folder: Path, status: str, message: str) -> None:
    """Run the user's command; a failure is only logged."""
    environment = {
        **os.environ,
        "TENKIZU_STATUS": status,
        "TENKIZU_RUN_DIR": str(folder.resolve()),
        "TENKIZU_MESSAGE": message,
    }
    try:
        done = subprocess.run(command, shell=True, env=environment, timeout=300, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        log.warning("run.on_finish could not be run: %s", error)
        return
    if done.returncode:
        log.warning("run.on_finish ended with exit code %d: %s", done.returncode, command)
