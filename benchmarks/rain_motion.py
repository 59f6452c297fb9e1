"""What following the motion of rain is worth, and how long it takes, on the shipped rain.

Run ``python benchmarks/rain_motion.py``. Every row splits S = the total of three hours given the
totals before and after; skill is 1 - SSE / SSE(S/3) over cells with S >= 0.1 mm, pooled over the
windows of a file, seconds are the median per window with the estimation of motion. Where pysteps
and OpenCV are installed, their Lucas-Kanade optical flow of the same totals is a peer.

The constants of `tenkizu.rain.motion` were chosen on 11-18 November and on 10-15 May; 2-3 November
and 16-20 May had no part in it. Which is which is printed.
"""

import argparse
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenkizu.core.samples import input_path
from tenkizu.rain.baselines import equal_split, linear_split
from tenkizu.rain.hourly import Window, iterate_windows, open_rain, window_starts
from tenkizu.rain.motion import estimate_motion, motion_split, trajectory_split

Field = NDArray[np.float32]
Split = Callable[[Field, Field, Field], Field]

# File, first day, last day, whether the constants were chosen there.
PARTS = [
    ("imerg_sbrazil_hourly_20231102_03.nc", "2023-11-02", "2023-11-03", False),
    ("imerg_sbrazil_hourly_20231111_18.nc", "2023-11-11", "2023-11-18", True),
    ("radolan_yw_hourly_20180510_20.nc", "2018-05-10", "2018-05-15", True),
    ("radolan_yw_hourly_20180510_20.nc", "2018-05-16", "2018-05-20", False),
]


def optical_flow(previous: Field, total: Field, following: Field) -> NDArray[np.float64]:
    """Motion (2, H, W) in cells per hour by pysteps' Lucas-Kanade on the totals in dBR.

    pysteps takes images (T, H, W), masks NaN and returns columns, then rows, per time step, which
    is three hours here.
    """
    from pysteps import motion

    rainy = [t / 3 for t in (previous, total, following) if (t >= 0.3).any()]
    if len(rainy) < 2:
        return np.zeros((2, *total.shape))
    rate = np.stack(rainy)
    with np.errstate(invalid="ignore"):
        images = np.where(rate < 0.1, -15.0, 10 * np.log10(np.maximum(rate, 0.1)))
    flow = motion.get_method("LK")(images, verbose=False)
    return np.asarray(flow, np.float64)[::-1] / 3


def following_motion(split: Callable[..., Field], estimate: Callable[..., Any]) -> Split:
    """The split along the estimated motion."""
    return lambda p, s, n: split(p, s, n, estimate(p, s, n))


def no_motion(_previous: Field, total: Field, _following: Field) -> NDArray[np.float64]:
    """Rain that stands still."""
    return np.zeros((2, *total.shape))


def methods() -> dict[str, Split]:
    """Every split by name."""
    result: dict[str, Split] = {
        "equal": lambda _p, s, _n: equal_split(s),
        "linear": linear_split,
        "carried (motion_split)": following_motion(motion_split, estimate_motion),
        "persistent, no motion": following_motion(trajectory_split, no_motion),
        "persistent (trajectory_split)": following_motion(trajectory_split, estimate_motion),
    }
    if all(importlib.util.find_spec(name) for name in ("pysteps", "cv2")):
        result["carried, pysteps LK"] = following_motion(motion_split, optical_flow)
        result["persistent, pysteps LK"] = following_motion(trajectory_split, optical_flow)
    else:
        print("pysteps with OpenCV is not installed: no peer in this run\n")
    return result


def windows_between(name: str, first: str, last: str) -> list[Window]:
    """Windows of a shipped file from the first to the last day that hold rain to score."""
    with open_rain(input_path(f"sample:{name}")) as series:
        end = np.datetime64(last) + np.timedelta64(1, "D")
        starts = [s for s in window_starts(series) if np.datetime64(first) <= s < end]
        windows = list(iterate_windows(series, starts))
    return [w for w in windows if (w.total >= np.float32(0.1)).any()]


def score(split: Split, windows: list[Window]) -> tuple[float, float]:
    """Pooled conditional skill and median seconds per window."""
    error = reference = 0.0
    seconds = []
    for window in windows:
        began = time.perf_counter()
        hours = split(window.previous, window.total, window.following)
        seconds.append(time.perf_counter() - began)
        assert window.hours is not None
        scored = window.total >= np.float32(0.1)
        truth = window.hours[:, scored].astype(np.float64)
        error += float(((hours[:, scored] - truth) ** 2).sum())
        reference += float(((window.total[scored] / 3.0 - truth) ** 2).sum())
    return 1 - error / reference, float(np.median(seconds))


def large_window() -> Window:
    """One window of 480 x 480 cells, mirrored from satellite rain."""
    name, first, _, _ = PARTS[1]
    window = windows_between(name, first, first)[3]
    assert window.hours is not None
    previous, *hours, total, following = (
        np.pad(field, [(0, 480 - size) for size in field.shape], mode="symmetric")
        for field in (window.previous, *window.hours, window.total, window.following)
    )
    return Window(window.start, previous, np.stack(hours), total, following)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="use every n-th window")
    every = parser.parse_args().every
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}")
    splits = methods()
    for name, first, last, chosen in PARTS:
        windows = windows_between(name, first, last)[::every]
        shape = " x ".join(map(str, windows[0].total.shape))
        print(f"{name}, {first} to {last}, {len(windows)} windows of {shape} cells, ", end="")
        print("constants chosen here" if chosen else "not used to choose")
        for method, split in splits.items():
            skill, seconds = score(split, windows)
            print(f"  {method:32} skill {skill:7.3f}   {seconds:7.4f} s")
        print()
    window = large_window()
    print("480 x 480 cells, seconds per window")
    for method, split in splits.items():
        print(f"  {method:32} {score(split, [window] * 3)[1]:7.3f} s")


if __name__ == "__main__":
    main()
