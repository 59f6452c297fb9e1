"""`video`: the panels of all windows as a film, H.264 where there is an ffmpeg, else GIF."""

import importlib
import logging
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import GifImagePlugin, Image

from tenkizu.core import charts
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.store import atomic
from tenkizu.rain.cases import Cases, cases_of_store, on_chosen_grid, open_cases
from tenkizu.rain.config import PlotsConfig
from tenkizu.rain.hourly import SourceOptions
from tenkizu.rain.plots import draw_panels, rain_limits
from tenkizu.rain.prediction import split_window
from tenkizu.rain.preparation import Track
from tenkizu.rain.regridding import Regrid
from tenkizu.rain.tables import Rain

if TYPE_CHECKING:
    from tenkizu.rain.model import RainModel

log = logging.getLogger(__name__)

GIF_SENTENCE = (
    "no ffmpeg with H.264 was found, so the film is a GIF; for mp4 install ffmpeg, "
    "or: python -m pip install imageio-ffmpeg"
)


def video(
    model: str | Path,
    data: str | Path | Sequence[str | Path] | None,
    output: str | Path,
    options: SourceOptions | None = None,
    window_start: int = 0,
    split: str = "test",
    vmax_mm: float | None = None,
    track: Track | None = None,
    regrid: Regrid | None = None,
) -> Path:
    """Draw prediction above truth for every window, in the order of time, as a film.

    All frames share one logarithmic colour scale. Windows are read, predicted and drawn one after
    another, so that memory does not grow with the film.

    Args:
        model: a run folder, an exported model folder or a shipped model's name.
        data: NetCDF of rain, GRIB2 files or a folder of them; 3-hour totals give a film of the
            prediction alone, an ensemble one of its first member. None takes windows of the store
            that the model was trained from.
        output: ``.mp4`` or ``.gif`` file to write.
        options: what the file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.
        split: part of the store to take when there is no file.
        vmax_mm: upper end of the colours; by default the largest upper limit that a window would
            take by itself, which is found by reading the rain once before, rounded up to 1, 2 or 5
            times a power of ten.
        track: shows progress.
        regrid: as of `predict`.

    Returns:
        The file written, with as many frames a second as ``plots.video_fps`` of the run says:
        H.264 in yuv420p at even size. Where neither an ffmpeg on the PATH nor the package
        imageio-ffmpeg can encode H.264, it is a GIF of the same name.

    Raises:
        ConfigError: the output has another suffix, or the limit is too low.
        DataError: the model, the file or the store cannot be used, or ffmpeg failed; or some of
            several GRIB2 files could not be read, and the film shows the others, as `predict` says.
    """
    from tenkizu.rain.model import RainModel

    output = film_path(output)
    loaded = RainModel.load(model)
    with ExitStack() as stack:
        if data is None:
            cases = cases_of_store(loaded, split)
        else:
            cases = stack.enter_context(open_cases(loaded, data, options, window_start))
            cases = on_chosen_grid(loaded, cases, regrid)
            for note in cases.notes:
                log.warning("%s: %s", cases.name, note)
        return draw_film(loaded, cases, output, vmax_mm, track)


def draw_film(
    model: "RainModel",
    cases: Cases,
    output: Path,
    vmax_mm: float | None = None,
    track: Track | None = None,
) -> Path:
    """Split windows and draw them as a film; as `video`.

    Args:
        model: that splits them.
        cases: the windows.
        output: the film, as `film_path` gives it.
        vmax_mm: upper end of the colours, mm.
        track: shows progress.

    Returns:
        The file written.
    """
    follow = track or (lambda items, _: items)
    everything = range(len(cases))
    plots = PlotsConfig(**model.metadata["config"]["plots"])

    def limit(index: int) -> float:
        known = list(cases.read(index, 0)[0][1:5])
        return rain_limits(known, scale="log", vmin_mm=plots.lognorm_vmin_mm)[1]

    if vmax_mm is None:
        limits = [cases.attempt(i, partial(limit, i)) for i in follow(everything, "reading")]
        cases.require_some()
        vmax_mm = round_up(max(one for one in limits if one is not None))
    with frames(model, cases, plots.lognorm_vmin_mm, float(vmax_mm)) as frame:

        def pictures() -> Generator[bytes]:
            for i in follow(everything, "drawing film"):
                made = cases.attempt(i, partial(split_window, model, cases, i))
                if made is not None:
                    rain, hours = made
                    yield frame(i, hours, rain[1:4])
            cases.require_some()

        with closing(pictures()) as made:
            write_film(output, made, plots.video_fps)
    cases.require_all(output)
    return output


def film_path(film: str | Path) -> Path:
    """The name that a film gets: ``.gif`` for ``.mp4`` where no ffmpeg can encode H.264.

    Raises:
        ConfigError: it is neither.
    """
    film = Path(film)
    suffix = film.suffix.lower()
    if suffix not in (".mp4", ".gif"):
        raise ConfigError(
            "not the name of a film",
            file=film,
            found=f"suffix '{film.suffix}'",
            expected=".mp4 or .gif",
        )
    if suffix == ".mp4" and find_encoder() is None:
        film = film.with_suffix(".gif")
        log.warning("%s: %s", film.name, GIF_SENTENCE)
    return film


def write_film(path: Path, pictures: Iterable[bytes], fps: float) -> None:
    """Write PNG pictures of one size, ``fps`` a second, to a name that `film_path` gave."""
    encoder = find_encoder() if path.suffix.lower() == ".mp4" else None
    if encoder:
        write_mp4(path, pictures, encoder, fps)
    else:
        write_gif(path, pictures, fps)


@contextmanager
def frames(
    model: "RainModel", cases: Cases, vmin_mm: float, vmax_mm: float
) -> Generator[Callable[[int, Rain, Rain], bytes]]:
    """What draws a window as a PNG picture, from its index, predicted and true hours (3, H, W)."""
    member = f", member {cases.members[0]}" if cases.members else ""
    with tempfile.TemporaryDirectory() as folder:

        def draw(index: int, hours: Rain, truth: Rain) -> bytes:
            path = draw_panels(
                Path(folder) / "frame.png",
                cases.grid,
                cases.starts[index],
                hours,
                truth if cases.hours else None,
                scale="log",
                vmin_mm=vmin_mm,
                vmax_mm=vmax_mm,
                subtitle=f"{model.metadata.get('name')} on {cases.name}{member}",
                truth_label=cases.truth,
                t0=cases.reference(index),
            )
            return path.read_bytes()

        yield draw


def find_encoder() -> str | None:
    """An ffmpeg that can encode H.264: on the PATH, then from imageio-ffmpeg; None if neither."""
    candidates = [shutil.which("ffmpeg")]
    try:
        candidates.append(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        log.debug("imageio-ffmpeg is not there")
    for executable in filter(None, candidates):
        # Some distributions ship an ffmpeg without this encoder.
        command = [executable, "-hide_banner", "-h", "encoder=libx264"]
        try:
            shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            log.debug("%s does not run: %s", executable, error)
            continue
        if "Encoder libx264" in shown.stdout:
            return executable
    return None


def write_mp4(path: Path, pictures: Iterable[bytes], encoder: str, fps: float) -> None:
    """Send PNG pictures of one size to ffmpeg, as they come.

    Raises:
        DataError: ffmpeg failed; its last words are in the message.
    """
    command = [encoder, "-hide_banner", "-loglevel", "error", "-y"]
    command += ["-f", "image2pipe", "-c:v", "png", "-framerate", f"{fps:g}", "-i", "-"]
    command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20"]
    # A key frame every five seconds, so that players can jump; the index first, so that it streams.
    command += ["-g", str(max(round(5 * fps), 1)), "-movflags", "+faststart"]
    # H.264 with halved colour planes accepts no odd sides.
    command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-f", "mp4"]
    # A file takes what ffmpeg says: a pipe that nobody reads could fill and stall it.
    with atomic(path) as part, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, str(part)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
        )
        try:
            _feed(process, pictures)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise DataError(
                "ffmpeg could not write the film: " + (said[-1] if said else f"exit code {code}"),
                file=path,
                next_step="see that the disk has room, or ask for a .gif",
            )


def _feed(process: subprocess.Popen[bytes], pictures: Iterable[bytes]) -> None:
    """Write all pictures to a process; stop when it has gone, whose exit code tells why."""
    if process.stdin is None:
        return
    try:
        with process.stdin as pipe:
            for picture in pictures:
                pipe.write(picture)
    except BrokenPipeError:
        log.debug("ffmpeg ended before the film did")


def write_gif(path: Path, pictures: Iterable[bytes], fps: float) -> None:
    """Write PNG pictures of one size as an endless GIF, each as it comes.

    Pillow's own writer would hold all frames in memory. The frames share one palette: the colours
    of rain and the greys of text and coast.
    """
    shades = charts.rain_colormap()(np.linspace(0.0, 1.0, 236))[:, :3]
    extremes = [charts.rain_colormap()(2.0)[:3], charts.rain_colormap()(np.nan)[:3]]
    # Few, for Pillow looks colours up in cells of 8 units: near-white must not stand for white.
    greys = np.repeat(np.linspace(0.0, 1.0, 18)[:, None], 3, axis=1)
    colours = np.round(np.concatenate([shades, extremes, greys]) * 255).astype(np.uint8).tobytes()
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    with atomic(path) as part, part.open("wb") as file:
        for i, picture in enumerate(pictures):
            image = Image.open(BytesIO(picture)).convert("RGB")
            if not i:
                # Signature and size; a palette of 2^(7 + 1) colours; then "repeat for ever".
                file.write(b"GIF89a" + struct.pack("<HHBBB", *image.size, 0xF7, 0, 0) + colours)
                file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")
            frame = image.quantize(palette=palette, dither=Image.Dither.NONE)
            for block in GifImagePlugin.getdata(frame, duration=1000 / fps):
                file.write(block)
        file.write(b";")


def round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    decade = 10.0 ** np.floor(np.log10(value))
    steps = decade * np.array([1.0, 2.0, 5.0, 10.0])
    return float(f"{steps[steps >= value * (1 - 1e-9)][0]:g}")
