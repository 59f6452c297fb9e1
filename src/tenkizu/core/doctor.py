"""What this machine offers and what an installation lacks, for ``tenkizu doctor``."""

import importlib.metadata
import importlib.resources
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import tenkizu

Row = tuple[str, str, bool]

_SAMPLES = ("rain", "coastline")
_GIB = 1024**3
_MIN_DISK = _GIB  # below it even a small run may fail to write its model


def report() -> list[Row]:
    """Look at the installation and the machine; takes as long as importing torch.

    Returns:
        Rows of (item, finding, ok). ``ok`` is False only where something tenkizu needs is missing,
        and the finding then says what to do; optional things are always ok. Never raises: a look
        that fails is itself a finding.
    """
    looks: tuple[tuple[str, Callable[[], Iterator[Row]]], ...] = (
        ("Python", _python),
        ("dependencies", _dependencies),
        ("devices", _devices),
        ("CPU cores", _cores),
        ("memory", _memory),
        ("disk", _disk),
        ("ffmpeg", _ffmpeg),
        ("samples", _samples),
    )
    rows: list[Row] = []
    for item, look in looks:
        try:
            rows.extend(look())
        except Exception as error:
            rows.append((item, f"could not be looked at: {type(error).__name__}: {error}", False))
    return rows


def _python() -> Iterator[Row]:
    found = f"{platform.python_version()} on {platform.platform(terse=True)} ({sys.executable})"
    ok = sys.version_info >= (3, 11)
    yield "Python", found if ok else f"{found}; needs 3.11 or newer", ok
    yield "tenkizu", f"{tenkizu.__version__} in {Path(tenkizu.__file__).parent}", True


def _dependencies() -> Iterator[Row]:
    """One row for each package that tenkizu's own metadata requires, extras left out."""
    try:
        required = importlib.metadata.requires("tenkizu") or []
    except importlib.metadata.PackageNotFoundError:
        advice = "from the source folder, run: python -m pip install -e ."
        yield "dependencies", f"unknown, because tenkizu is not installed; {advice}", False
        return
    for text in required:
        if "extra ==" not in text:
            yield _dependency(text)


def _dependency(text: str) -> Row:
    """The row of one requirement such as ``numpy>=1.26``."""
    text = text.partition(";")[0].strip()
    match = re.match(r"[A-Za-z0-9._-]+", text)
    name = match.group() if match else text
    advice = f"install it with: python -m pip install '{text}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return name, f"missing; {advice}", False
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return name, f"{version} (not compared with {text}: packaging is missing)", True
    wanted = Requirement(text).specifier
    if not wanted.contains(version, prereleases=True):
        return name, f"{version} does not satisfy {wanted}; {advice}", False
    return name, version, True


def _devices() -> Iterator[Row]:
    try:
        import torch
    except Exception as error:  # a broken build raises more than ImportError
        yield "torch", f"cannot be imported: {type(error).__name__}: {error}", False
        return
    yield "CPU", f"threads of torch: {torch.get_num_threads()}", True
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}, but no device answers"
        yield "GPU", f"none; {built if torch.version.cuda else 'torch is a CPU build'}", True
        return
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        with torch.cuda.device(index):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        found = f"{about.name}, {about.total_memory / _GIB:.0f} GiB, bf16 {'yes' if bf16 else 'no'}"
        yield f"GPU {index}", found, True


def _cores(cgroup: Path = Path("/sys/fs/cgroup")) -> Iterator[Row]:
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        usable = os.cpu_count() or 1
    found = f"{usable} usable of {os.cpu_count()}"
    share = _cpu_share(cgroup)
    if share is not None and share < usable:
        found += f", limited to the time of {share:.3g} by the container"
    yield "CPU cores", found, True


def _memory(
    meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> Iterator[Row]:
    total, free = None, None
    if meminfo.exists():
        kib = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(), flags=re.MULTILINE))
        total, free = (
            int(kib[key]) * 1024 if key in kib else None for key in ("MemTotal", "MemAvailable")
        )
    elif hasattr(os, "sysconf"):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    parts = [
        f"{size / _GIB:.1f} GiB {word}"
        for size, word in ((total, "in all"), (free, "available"))
        if size is not None
    ]
    limit = _number(cgroup / "memory.max") or _number(cgroup / "memory" / "memory.limit_in_bytes")
    # Without a limit, version 1 of cgroups reports a number beyond any machine's memory.
    if limit is not None and limit < (total or limit):
        parts.append(f"limited to {limit / _GIB:.1f} GiB by the container")
    yield "memory", ", ".join(parts) or "unknown on this system", True


def _disk() -> Iterator[Row]:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    found = f"{free / _GIB:.1f} GiB free in {folder}"
    if free < _MIN_DISK:
        yield "disk", f"{found}; too little for a run, make room or work elsewhere", False
    else:
        yield "disk", found, True


def _ffmpeg() -> Iterator[Row]:
    if path := shutil.which("ffmpeg"):
        yield "ffmpeg", path, True
    elif importlib.util.find_spec("imageio_ffmpeg"):
        yield "ffmpeg", "from imageio-ffmpeg", True
    else:
        advice = "for MP4: python -m pip install imageio-ffmpeg"
        yield "ffmpeg", f"not found (optional): films will be GIF; {advice}", True


def _samples(root: Path | None = None) -> Iterator[Row]:
    """Whether the small real data that demo and tests use came with the package."""
    folder = root or Path(str(importlib.resources.files("tenkizu"))) / "samples"
    for name in _SAMPLES:
        files = [path for path in (folder / name).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 1e6
        if files:
            yield f"sample {name}", f"{len(files)} files, {size:.1f} MB", True
        else:
            yield f"sample {name}", f"missing in {folder}; install tenkizu again", False


def _cpu_share(cgroup: Path) -> float | None:
    """Cores' worth of CPU time the control group grants, None without a limit.

    Version 2 of cgroups holds "quota period" or "max period" in one file, version 1 has a file
    for each and -1 for no limit.
    """
    quota = period = None
    if (cgroup / "cpu.max").exists():
        first, _, second = (cgroup / "cpu.max").read_text().strip().partition(" ")
        quota, period = (int(part) if part.isdigit() else None for part in (first, second))
    else:
        quota = _number(cgroup / "cpu" / "cpu.cfs_quota_us")
        period = _number(cgroup / "cpu" / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _number(file: Path) -> int | None:
    """The whole number in a small system file; None where it says ``max`` or is not there."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
