import importlib.metadata
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from tenkizu.core import doctor


def fake_torch(*devices):
    """As much of torch as the doctor asks; importing the real one takes seconds."""
    cuda = SimpleNamespace(
        is_available=lambda: bool(devices),
        device_count=lambda: len(devices),
        get_device_properties=lambda index: devices[index],
        device=nullcontext,
        is_bf16_supported=lambda including_emulation: True,
    )
    version = SimpleNamespace(cuda="13.0")
    return SimpleNamespace(cuda=cuda, version=version, get_num_threads=lambda: 4)


@pytest.fixture(autouse=True)
def _torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", fake_torch())


def test_this_installation_has_what_it_requires():
    rows = {item: (finding, ok) for item, finding, ok in doctor.report()}
    assert rows["Python"][0].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert rows["numpy"] == (importlib.metadata.version("numpy"), True)
    assert rows["CPU"] == ("threads of torch: 4", True)
    assert rows["GPU"] == ("none; torch is built for CUDA 13.0, but no device answers", True)
    assert rows["ffmpeg"][1]
    assert "GiB free" in rows["disk"][0]
    assert "pytest" not in rows  # only a developer needs it


def test_missing_and_old_packages_are_not_ok(monkeypatch):
    versions = {"numpy": "1.24.0", "scores": "2.0"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    required = ["numpy>=1.26", "scores>=2.0", "h5netcdf>=1.3", 'pytest>=8; extra == "dev"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: required)
    monkeypatch.setattr(importlib.metadata, "version", version)
    assert list(doctor._dependencies()) == [
        (
            "numpy",
            "1.24.0 does not satisfy >=1.26; install it with: python -m pip install 'numpy>=1.26'",
            False,
        ),
        ("scores", "2.0", True),
        ("h5netcdf", "missing; install it with: python -m pip install 'h5netcdf>=1.3'", False),
    ]


def test_versions_are_shown_where_packaging_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    name, finding, ok = doctor._dependency("numpy>=99")
    assert (name, ok) == ("numpy", True)
    assert "not compared" in finding


def test_a_gpu_is_shown_with_its_memory(monkeypatch):
    gpu = SimpleNamespace(name="Card", total_memory=80 * 1024**3)
    monkeypatch.setitem(sys.modules, "torch", fake_torch(gpu, gpu))
    rows = list(doctor._devices())
    assert rows[1:] == [
        ("GPU 0", "Card, 80 GiB, bf16 yes", True),
        ("GPU 1", "Card, 80 GiB, bf16 yes", True),
    ]


def test_a_torch_that_cannot_be_imported_is_a_finding(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    ((item, finding, ok),) = doctor._devices()
    assert (item, ok) == ("torch", False)
    assert "cannot be imported" in finding


def test_nothing_that_fails_stops_the_report(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("broken")

    for owner, name in [
        (importlib.metadata, "requires"),
        (doctor.platform, "platform"),
        (doctor.shutil, "disk_usage"),
        (doctor.shutil, "which"),
        (doctor.os, "cpu_count"),
    ]:
        monkeypatch.setattr(owner, name, fail)
    failed = [item for item, finding, ok in doctor.report() if "broken" in finding and not ok]
    assert failed == ["Python", "dependencies", "CPU cores", "disk", "ffmpeg"]


def test_memory_is_read_from_the_kernel_and_the_container(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n")
    assert list(doctor._memory(meminfo, tmp_path)) == [
        ("memory", "16.0 GiB in all, 8.0 GiB available", True)
    ]
    (tmp_path / "memory.max").write_text(f"{4 * 1024**3}\n")
    ((_, finding, _),) = doctor._memory(meminfo, tmp_path)
    assert finding.endswith("limited to 4.0 GiB by the container")
    (tmp_path / "memory.max").write_text("max\n")
    ((_, finding, _),) = doctor._memory(meminfo, tmp_path)
    assert "limited" not in finding


def test_memory_is_known_without_proc(tmp_path):
    ((_, finding, _),) = doctor._memory(tmp_path / "none", tmp_path)
    assert finding.endswith("GiB in all")


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_cpu_time_of_both_versions_of_control_groups(tmp_path, files, share):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert doctor._cpu_share(tmp_path) == share


def test_samples_that_did_not_come_with_the_package_are_named(tmp_path):
    (tmp_path / "rain").mkdir()
    (tmp_path / "rain" / "a.nc").write_bytes(bytes(1_500_000))
    rain, coastline = doctor._samples(tmp_path)
    assert rain == ("sample rain", "1 files, 1.5 MB", True)
    assert coastline == ("sample coastline", f"missing in {tmp_path}; install tenkizu again", False)


def test_films_are_optional(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: None)
    ((_, finding, ok),) = doctor._ffmpeg()
    assert ok
    assert "films will be GIF" in finding
