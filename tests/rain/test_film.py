import sys
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from option_networks import changed, export_network
from PIL import Image

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.rain import cases, film, video

PNG_END = b"IEND\xaeB`\x82"

# Takes the place of ffmpeg: says that it has the encoder, notes how it is called, and keeps the
# pictures it is sent, one after another, as the film.
RECORDER = """#!/bin/sh
for last; do :; done
case "$*" in
  *encoder=libx264*) echo "Encoder libx264 [H.264]" ;;
  *) echo "$*" > "{folder}/called"; cat > "$last" ;;
esac
"""
BARE = """#!/bin/sh
echo "Codec 'libx264' is not recognized by FFmpeg."
"""
FAILING = """#!/bin/sh
case "$*" in
  *encoder=libx264*) echo "Encoder libx264 [H.264]" ;;
  *) echo "first complaint" >&2; echo "No space left on device" >&2; exit 1 ;;
esac
"""


@pytest.fixture(autouse=True)
def no_ffmpeg(monkeypatch, tmp_path):
    """A machine with neither ffmpeg nor imageio-ffmpeg."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)


def install(tmp_path, script, name="ffmpeg"):
    """Put a program in place of ffmpeg; the shell's own tools stay in reach."""
    program = tmp_path / "bin" / name
    program.write_text(script.format(folder=tmp_path).replace("cat >", "/bin/cat >"))
    program.chmod(0o755)
    return program


@pytest.fixture
def model(tiny_config, tiny_store, tmp_path):
    """A model folder with random weights, made from ``tiny_store``."""
    config = changed(tiny_config, data__store=str(tiny_store.path))
    return export_network(tmp_path / "model", config, tiny_store)


@pytest.fixture
def rain_file(tmp_path, write_rain):
    """Writes hourly (or 3-hourly) rain that begins at midnight."""

    def write(rain, **options):
        minutes = options.get("step_minutes", 60)
        first = np.datetime64("2023-06-01T00:00") + np.timedelta64(minutes, "m")
        return write_rain(tmp_path / "rain.nc", np.asarray(rain, np.float32), first, **options)

    return write


@pytest.fixture
def drawn(monkeypatch):
    """What `draw_panels` is asked for; to save time the picture is one colour."""
    calls = []

    def draw(path, grid, start, predicted, truth, **options):
        calls.append(SimpleNamespace(start=start, predicted=predicted, truth=truth, **options))
        Image.new("RGB", (40, 20), (0, 0, 255)).save(path)
        return path

    monkeypatch.setattr(film, "draw_panels", draw)
    return calls


def test_a_film_of_two_windows_from_a_file(tmp_path, model, rain_file, tiny_rain, caplog):
    data = rain_file(tiny_rain[30:36])
    path = video(model, data, tmp_path / "film.mp4")
    assert path == tmp_path / "film.gif"
    assert "install ffmpeg" in caplog.text
    assert not (tmp_path / "film.mp4").exists()
    with Image.open(path) as shown:
        assert shown.n_frames == 2
        assert shown.info["duration"] == 500
        assert shown.info["loop"] == 0
        width, height = shown.size
        assert (width, height % 2) == (1600, 0)
        frames = []
        for i in range(2):
            shown.seek(i)
            frames.append(np.asarray(shown.convert("RGB")).astype(int))
    assert (frames[0] != frames[1]).any()
    # Paper stays white, and the colours of rain survive the palette.
    assert frames[0][2, 2].tolist() == [255, 255, 255]
    assert (np.ptp(frames[0], axis=-1) > 60).sum() > 1000


def test_frames_are_read_predicted_and_drawn_one_by_one(
    tmp_path, model, rain_file, tiny_rain, drawn, monkeypatch
):
    install(tmp_path, RECORDER)
    events = []
    read = cases.read_window

    def reading(series, start, member):
        events.append(("read", start))
        return read(series, start, member)

    monkeypatch.setattr(cases, "read_window", reading)

    def track(items, description):
        for item in items:
            events.append((description, item))
            yield item

    path = video(model, rain_file(tiny_rain[:9]), tmp_path / "film.mp4", track=track)
    starts = [np.datetime64(f"2023-06-01T{hour:02d}:00") for hour in (0, 3, 6)]
    assert [call.start for call in drawn] == starts
    again = [("drawing film", 0), ("drawing film", 1), ("drawing film", 2)]
    for i, (event, start) in enumerate(zip(again, starts, strict=True)):
        assert events[6 + 2 * i : 8 + 2 * i] == [event, ("read", start)]
    for i, call in enumerate(drawn):
        truth = tiny_rain[3 * i : 3 * i + 3]
        np.testing.assert_array_equal(call.truth, truth)
        np.testing.assert_allclose(call.predicted.sum(0), truth.sum(0), rtol=1e-5, atol=1e-6)
    pictures = path.read_bytes().split(PNG_END)[:-1]
    sizes = {Image.open(BytesIO(part + PNG_END)).size for part in pictures}
    assert (len(pictures), sizes) == (3, {(40, 20)})
    called = (tmp_path / "called").read_text()
    for option in ("-framerate 2", "-c:v libx264", "-pix_fmt yuv420p", "ceil(iw/2)*2"):
        assert option in called


def test_all_frames_have_one_colour_scale_and_one_size(tmp_path, model, rain_file, tiny_rain):
    install(tmp_path, RECORDER)
    rain = np.concatenate([tiny_rain[33:36], np.zeros((3, 24, 32))])
    path = video(model, rain_file(rain), tmp_path / "film.mp4", vmax_mm=40.0)
    pictures = [Image.open(BytesIO(p + PNG_END)) for p in path.read_bytes().split(PNG_END)[:-1]]
    assert len({picture.size for picture in pictures}) == 1
    # The ticks of the colour bar, at the right edge, are the same on a wet and on a dry frame.
    wet, dry = (np.asarray(picture.convert("L"))[:, -130:-70] for picture in pictures)
    np.testing.assert_array_equal(wet, dry)


def test_the_upper_limit_is_found_in_the_rain_and_rounded_up(tmp_path, model, rain_file, drawn):
    rain = np.zeros((6, 24, 32))
    rain[0:3, 2:8, 2:8] = 1.0  # 3 mm in 3 hours
    rain[3:6, 2:8, 2:8] = 4.0  # 12 mm in 3 hours, so 20
    video(model, rain_file(rain), tmp_path / "film.gif")
    assert [(call.scale, call.vmin_mm, call.vmax_mm) for call in drawn] == [("log", 0.1, 20.0)] * 2


def test_without_a_file_the_test_windows_of_the_run_are_filmed(tmp_path, model, tiny_store, drawn):
    video(model, None, tmp_path / "film.gif")
    starts = [call.start for call in drawn]
    splits = dict(zip(tiny_store.meta["starts"], tiny_store.meta["splits"], strict=True))
    assert len(starts) == 7
    assert starts == sorted(starts)
    assert {splits[str(start)] for start in starts} == {"test"}
    assert {call.subtitle for call in drawn} == {"toy on store, test"}


def test_an_all_dry_film_of_one_window_comes_out_whole(tmp_path, model, rain_file, drawn):
    install(tmp_path, RECORDER)
    path = video(model, rain_file(np.zeros((3, 24, 32))), tmp_path / "film.mp4")
    (call,) = drawn
    assert call.vmax_mm == 1.0
    assert (call.predicted == 0).all()
    assert path.read_bytes().count(PNG_END) == 1


def test_three_hour_totals_make_a_film_of_the_prediction_alone(
    tmp_path, model, rain_file, tiny_rain, drawn
):
    totals = tiny_rain[:9].reshape(3, 3, 24, 32).sum(axis=1)
    video(model, rain_file(totals, step_minutes=180), tmp_path / "film.gif")
    assert [call.truth for call in drawn] == [None] * 3
    np.testing.assert_allclose(drawn[1].predicted.sum(0), totals[1], rtol=1e-5, atol=1e-5)


def test_imageio_ffmpeg_serves_where_the_path_has_no_h264(tmp_path, monkeypatch):
    assert film.find_encoder() is None
    install(tmp_path, BARE)
    assert film.find_encoder() is None
    shipped = install(tmp_path, RECORDER, "ffmpeg-from-a-package")
    module = SimpleNamespace(get_ffmpeg_exe=lambda: str(shipped))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", module)
    assert film.find_encoder() == str(shipped)
    first = install(tmp_path, RECORDER)
    assert film.find_encoder() == str(first)


def test_a_failing_ffmpeg_is_quoted_and_leaves_no_film(
    tmp_path, model, rain_file, tiny_rain, drawn
):
    install(tmp_path, FAILING)
    with pytest.raises(DataError, match=r"film\.mp4: ffmpeg.*: No space left on device"):
        video(model, rain_file(tiny_rain[:6]), tmp_path / "film.mp4")
    assert not list(tmp_path.glob("*.mp4")) + list(tmp_path.glob(".*"))


def test_an_error_in_the_middle_leaves_no_film(tmp_path, model, rain_file, tiny_rain, monkeypatch):
    install(tmp_path, RECORDER)
    monkeypatch.setattr(film, "draw_panels", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        video(model, rain_file(tiny_rain[:6]), tmp_path / "film.mp4")
    assert not list(tmp_path.glob("*.mp4")) + list(tmp_path.glob(".*"))


def test_wrong_requests_are_refused_with_advice(tmp_path, model, rain_file, tiny_rain):
    with pytest.raises(ConfigError, match=r"film\.avi.*expected \.mp4 or \.gif"):
        video(model, None, tmp_path / "film.avi")
    with pytest.raises(ConfigError, match="vmax_mm"):
        video(model, rain_file(tiny_rain[:3]), tmp_path / "film.gif", vmax_mm=0.05)
    assert not (tmp_path / "film.gif").exists()


def test_a_model_without_its_store_asks_for_a_file(tmp_path, model, tiny_store):
    text = (model / "model.json").read_text()
    (model / "model.json").write_text(text.replace(str(tiny_store.path), "/nowhere/store"))
    with pytest.raises(DataError, match=r"/nowhere/store.*\n.*MODEL DATA"):
        video(model, None, tmp_path / "film.gif")


def test_the_command_writes_a_film(tmp_path, model, drawn, command):
    output = tmp_path / "film.gif"
    words = ("-o", output, "--split", "validation", "--vmax", 30)
    code, said, _ = command("rain", "video", model, *words)
    assert code == 0
    assert str(output) in said
    assert output.read_bytes()[:6] == b"GIF89a"
    assert {call.vmax_mm for call in drawn} == {30.0}
