"""What was seen, where and when: things in cells, where they stand, the file, and what is found in it again."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from recalling import CELLS, NAMES, SeeingBackend, make_memory, picture

from vila_core.engine.names import NameTable
from vila_core.errors import ConfigError, NoImagesError, OutputError, QueryError, UnsupportedQueryError
from vila_core.recall.config import CameraGeometry, MemoryConfig
from vila_core.recall.place import place_of, rays
from vila_core.recall.search import Index, search
from vila_core.recall.sightings import nearest, sightings
from vila_core.recall.store import Rows, Store, Tag, View
from vila_core.scene_memory import SceneMemory
from vila_core.testing import ScriptedBackend, make_frame
from vila_core.types import Pose, Thing

DAY_NS = 86_400 * 10**9
CAMERA = CameraGeometry(math.radians(90), 1.0, 0.9, math.radians(12))


# --- the camera's geometry -----------------------------------------------------------------------


def seen_at(pose: Pose, x_m: float, y_m: float, camera: CameraGeometry = CAMERA) -> tuple[float, float]:
    """Where in the picture a point on the floor is: shares of width and height."""
    seen = Pose(x_m, y_m).relative_to(pose)
    cos, sin = math.cos(camera.pitch_rad), math.sin(camera.pitch_rad)
    ahead, below = cos * seen.x_m + sin * camera.height_m, -sin * seen.x_m + cos * camera.height_m
    half = math.tan(camera.hfov_rad / 2)
    return 0.5 - seen.y_m / ahead / half / 2, 0.5 + below / ahead / half / camera.aspect / 2


@given(
    x_m=st.floats(0.8, 4), y_m=st.floats(-0.6, 0.6), yaw=st.floats(-3, 3), aspect=st.sampled_from((1.0, 0.75, 0.5625))
)
def test_a_ray_points_to_what_the_camera_sees(x_m: float, y_m: float, yaw: float, aspect: float) -> None:
    camera = CameraGeometry(CAMERA.hfov_rad, aspect, CAMERA.height_m, CAMERA.pitch_rad)
    pose = Pose(1.0, -2.0, yaw)
    point = pose.compose(Pose(x_m, y_m))
    middle, foot = seen_at(pose, point.x_m, point.y_m, camera)
    found = rays(np.array([[1.0, -2.0, yaw]]), np.array([[middle, foot, math.nan]]), camera)
    assert_allclose(found.bearings_rad, math.atan2(y_m, x_m), atol=1e-6)
    assert 1.2 < found.distances_m[0] / math.hypot(x_m, y_m) < 1.5  # its middle is behind its foot


def test_a_thing_stands_where_several_directions_meet() -> None:
    poses = [Pose(0, 0, 0.0), Pose(2, -2, 1.6), Pose(0.5, 1.5, -0.8)]
    seen = rays(array_of(poses), np.array([(*seen_at(pose, 2.2, 0.1), math.nan) for pose in poses]), CAMERA)
    found = place_of(seen, np.ones(3))
    assert math.dist((found.x_m, found.y_m), (2.2, 0.1)) < 0.4
    assert found.agrees.all()


def test_a_sighting_of_something_else_does_not_move_the_place() -> None:
    poses = [Pose(0, 0, 0.0), Pose(2, -2, 1.6), Pose(0.5, 1.5, -0.8), Pose(0, 0, 3.0)]
    points = [(2.2, 0.1)] * 3 + [(-3.0, 0.5)]
    places = np.array([(*seen_at(pose, *point), math.nan) for pose, point in zip(poses, points, strict=True)])
    seen = rays(array_of(poses), places, CAMERA)
    found = place_of(seen, np.ones(4))
    assert math.dist((found.x_m, found.y_m), (2.2, 0.1)) < 0.4
    assert found.agrees.tolist() == [True, True, True, False]


def test_without_the_cameras_height_directions_alone_tell() -> None:
    camera = CameraGeometry(CAMERA.hfov_rad, 1.0)
    poses = [Pose(0, 0, 0.0), Pose(2, -2, 1.6)]
    places = np.array([(seen_at(pose, 2.2, 0.1)[0], 0.7, math.nan) for pose in poses])
    seen = rays(array_of(poses), places, camera)
    found = place_of(seen, np.ones(2))
    assert math.dist((found.x_m, found.y_m), (2.2, 0.1)) < 0.5


@pytest.mark.parametrize("camera", [CAMERA, CameraGeometry(CAMERA.hfov_rad, 1.0)], ids=["mounted", "anywhere"])
def test_a_distance_that_the_model_tells_places_a_thing_that_was_seen_once(camera: CameraGeometry) -> None:
    middle, _ = seen_at(Pose(), 3.0, 0.2)
    seen = rays(array_of([Pose()]), np.array([(middle, 0.95, 3.0)]), camera)  # its foot is hidden: it looks near
    found = place_of(seen, np.ones(1))
    assert math.dist((found.x_m, found.y_m), (3.0, 0.2)) < 0.3


@pytest.mark.parametrize("given_alone", ["camera_height_m", "camera_pitch_deg"])
def test_height_without_pitch_is_refused(given_alone: str) -> None:
    with pytest.raises(ConfigError, match="both or neither"):
        MemoryConfig(**{given_alone: 1.0})


def array_of(poses: list[Pose]) -> np.ndarray:
    return np.array([(pose.x_m, pose.y_m, pose.yaw_rad) for pose in poses])


# --- things in cells -----------------------------------------------------------------------------


def test_cells_show_the_things_that_are_there_and_where() -> None:
    backend = SeeingBackend()
    names = NameTable(backend, NAMES)
    frame = picture({"red ball": (3, 6), "blue vase": (6, 1)})
    found = sightings(backend.cells(frame), names)
    assert {one.thing.text for one in found} == {"red ball", "blue vase"}
    ball = next(one for one in found if one.thing.kind == "ball")
    assert (ball.across, ball.down) == ((6 + 0.5) / CELLS, (3 + 0.5) / CELLS)
    assert nearest(found, 0.1, 0.8) is next(one for one in found if one.thing.kind == "vase")
    assert sightings(backend.cells(picture({})), names) == []


def test_a_thing_without_a_colour_is_looked_for_in_all() -> None:
    names = NameTable(SeeingBackend(), NAMES)
    assert len(names.queries(Thing("", "ball"))[0]) == len(NAMES.colours)
    assert len(names.queries(Thing("red", "ball"))[0]) == 1


# --- what was asked is found ---------------------------------------------------------------------


def rows_of(scores: list[float], poses: list[Pose], point: tuple[float, float], runs: list[int]) -> Rows:
    places = np.array([(*seen_at(pose, *point), math.nan) for pose in poses], np.float32)
    count = len(scores)
    return Rows(
        np.arange(count),
        np.array(runs),
        np.array([(p.x_m, p.y_m, p.yaw_rad) for p in poses]),
        places,
        np.zeros((count, 4), np.float32),
    )


def test_the_latest_run_that_saw_it_counts() -> None:
    poses = [Pose(0, 0, 0), Pose(1, 0, 0), Pose(0.2, 0, 0)]
    rows = rows_of([3, 3, 1], poses, (3, 0), [1, 2, 3])
    found = search(rows, np.array([9.0, 3.0, 1.0], np.float32), threshold=2, slack=2, camera=CAMERA)
    assert found is not None and found.row == 1
    assert search(rows, np.array([1.0, 1.9, 1.0], np.float32), threshold=2, slack=2, camera=CAMERA) is None


def test_the_index_grows_and_keeps_what_it_has() -> None:
    def batch(first: int, count: int) -> Rows:
        return Rows(
            np.arange(first, first + count),
            np.ones(count, np.int64),
            np.zeros((count, 3)),
            np.zeros((count, 2), np.float32),
            np.arange(first, first + count, dtype=np.float32)[:, None],
        )

    index = Index(batch(0, 0))
    for first in range(0, 5000, 50):
        index.add(batch(first, 50))
    assert index.rows.views.tolist() == list(range(5000))
    assert index.rows.vectors[:, 0].tolist() == list(range(5000))


# --- the memory as a whole -----------------------------------------------------------------------


def test_it_recalls_where_a_thing_was_last_seen(tmp_path: Path) -> None:
    memory = make_memory(tmp_path)
    memory.remember(picture({"red ball": (4, 4)}, stamp_s=1), Pose(0, 0, 0))
    memory.remember(picture({"blue vase": (4, 4)}, stamp_s=2), Pose(5, 0, 0))
    told = memory.recall("Where did you last see the red ball?")
    assert told.asked == "red ball" and told.view is not None and told.is_this_run
    assert told.view.stamp_ns == 1_000_000_000 and told.view.pose == Pose(0, 0, 0)
    assert told.view.picture.startswith(b"\xff\xd8")
    assert told.probability > 0.9 and math.hypot(told.x_m, told.y_m) > 0.3
    assert memory.recall("the vase").view.pose == Pose(5, 0, 0)  # of whatever colour
    assert memory.recall("the red vase").view is None


def test_a_thing_that_was_moved_is_where_it_was_seen_last(tmp_path: Path) -> None:
    memory = make_memory(tmp_path)
    for number in range(20):
        memory.remember(picture({"red ball": (4, 4)}, stamp_s=number), Pose(0, 0.02 * number, 0))
    for number in range(20, 60):
        memory.remember(picture({"red ball": (4, 4)}, stamp_s=number), Pose(9, 0.02 * number, 0))
    told = memory.recall("the red ball")
    assert told.view is not None and told.view.pose.x_m == 9 and told.x_m > 8


def test_what_it_does_not_know_it_says(tmp_path: Path) -> None:
    memory = make_memory(tmp_path)
    with pytest.raises(NoImagesError):
        memory.recall("the red ball")
    memory.remember(picture({"red ball": (4, 4)}, stamp_s=1), Pose())
    with pytest.raises(QueryError, match=r"elephant.*knows 2 kinds"):
        memory.recall("where is the elephant?")
    with pytest.raises(QueryError, match="several things"):
        memory.recall("the red ball and then the vase")
    memory.tag("Anna's toy")
    with pytest.raises(QueryError, match="Anna's toy"):
        memory.recall("the elephant")


def test_a_tag_is_found_again_from_one_example(tmp_path: Path) -> None:
    memory = make_memory(tmp_path)
    memory.remember(picture({"red ball": (4, 4), "blue vase": (1, 1)}, stamp_s=1), Pose())
    assert memory.tag("my mug", across=0.2, down=0.2) == "blue vase"
    memory.remember(picture({"blue vase": (4, 4)}, stamp_s=2), Pose(3, 0, 0))
    memory.remember(picture({"red ball": (4, 4)}, stamp_s=3), Pose(6, 0, 0))
    told = memory.recall("where did I leave my mug?")
    assert told.asked == "my mug" and told.view is not None and told.view.stamp_ns == 2_000_000_000
    memory.tag("my mug", picture({"red ball": (4, 4)}, stamp_s=4))  # means this from now on
    assert memory.recall("MY MUG").view.stamp_ns == 3_000_000_000


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("", {}, "name"),
        ("x" * 100, {}, "name"),
        ("mug", {"across": 1.5}, "across = 1.5"),
        ("mug", {"down": -0.1}, "down = -0.1"),
        ("mug", {"across": math.nan}, "across = nan"),
    ],
)
def test_a_tag_that_is_none_is_refused(tmp_path: Path, name: str, options: dict[str, float], words: str) -> None:
    memory = make_memory(tmp_path)
    memory.remember(picture({"red ball": (4, 4)}, stamp_s=1), Pose())
    with pytest.raises(QueryError, match=words):
        memory.tag(name, **options)


def test_a_picture_of_nothing_is_given_no_name(tmp_path: Path) -> None:
    memory = make_memory(tmp_path)
    with pytest.raises(NoImagesError):
        memory.tag("mug")
    with pytest.raises(QueryError, match="shows nothing"):
        memory.tag("mug", picture({}))


def test_a_restart_keeps_what_was_seen_and_says_that_it_was_before(tmp_path: Path) -> None:
    memory = make_memory(tmp_path)
    memory.remember(picture({"red ball": (4, 4)}, stamp_s=1), Pose())
    memory.tag("toy")
    memory.close()
    again = make_memory(tmp_path)
    assert again.views == 1
    assert again.recall("the red ball").is_this_run is False and again.recall("the toy").view is not None
    again.close()
    assert make_memory(tmp_path, is_map=True).recall("the red ball").is_this_run


def test_views_are_due_by_motion_and_time(tmp_path: Path) -> None:
    memory = make_memory(tmp_path, period_s=5.0)
    assert memory.is_due(0, Pose())
    assert not memory.is_due(10**9, Pose(0.1, 0, 0.1))
    assert memory.is_due(2 * 10**9, Pose(0.3, 0, 0))
    assert memory.is_due(3 * 10**9, Pose(0.3, 0, 0.3))
    assert memory.is_due(8 * 10**9, Pose(0.3, 0, 0.3))
    assert memory.is_due(7 * 10**9, Pose(0.3, 0, 0.3))  # the clock went back


# --- the file ------------------------------------------------------------------------------------


def test_other_programs_read_it(tmp_path: Path) -> None:
    memory = make_memory(tmp_path)
    memory.remember(picture({"red ball": (4, 4)}, stamp_s=1), Pose(1, 2, 3))
    with sqlite3.connect(tmp_path / "seen.sqlite") as db:
        row = db.execute(
            "SELECT colour, kind, x_m, y_m, stamp_ns FROM sightings JOIN views ON views.id = sightings.view"
        ).fetchone()
        plan = db.execute("EXPLAIN QUERY PLAN SELECT * FROM views WHERE stamp_ns > 5").fetchone()
        assert row == ("red", "ball", 1, 2, 1_000_000_000)
        assert "views_by_time" in plan[3]
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_the_oldest_are_forgotten_by_age_and_by_size(tmp_path: Path) -> None:
    memory = make_memory(tmp_path, most_days=1.0)
    for number in range(100):
        memory.remember(picture({"red ball": (4, 4)}, stamp_s=number), Pose(number, 0, 0))
    for number in range(100):
        memory.remember(picture({"blue vase": (4, 4)}, stamp_s=100_000 + number), Pose(number, 0, 0))
    assert memory.views == 100 and memory.recall("the red ball").view is None
    memory.close()

    store = Store(tmp_path / "small.sqlite", np.zeros((1, 5), np.float32), 0, "odom")
    for number in range(300):
        store.add(View(number, "camera", Pose(), (48, 64), bytes(10_000)), [])
    gone = store.forget(0, 1e6)
    assert 200 < gone < 250 and store.forget(0, 1e6) == 0
    store.close()
    assert (tmp_path / "small.sqlite").stat().st_size < 1.05e6
    with pytest.raises(KeyError):
        Store(tmp_path / "small.sqlite", np.zeros((1, 5), np.float32), 0, "odom").view(1)


def test_a_file_of_another_model_is_refused_and_kept(tmp_path: Path) -> None:
    make_memory(tmp_path).close()
    with pytest.raises(ConfigError, match="another model"):
        make_memory(tmp_path, backend=SeeingBackend(seed=1))
    make_memory(tmp_path).close()


def test_what_the_model_tells_of_distances_is_kept_and_counts(tmp_path: Path) -> None:
    backend = SeeingBackend()
    backend.told_m = 2.5
    with closing(make_memory(tmp_path, backend=backend)) as memory:
        memory.remember(picture({"red ball": (7, 3)}), Pose(1.0, 1.0, 0.0))
        told = memory.recall("where is the red ball")
        assert math.dist((told.x_m, told.y_m), (1.0, 1.0)) == pytest.approx(2.5, abs=0.2)
    with closing(make_memory(tmp_path)) as memory:
        again = memory.recall("where is the red ball")
        assert (again.x_m, again.y_m) == (told.x_m, told.y_m)


def test_a_file_without_distances_is_read_and_gets_them(tmp_path: Path) -> None:
    with closing(make_memory(tmp_path)) as memory:
        memory.remember(picture({"red ball": (4, 4)}), Pose())
        told = memory.recall("where is the red ball")
    with closing(sqlite3.connect(tmp_path / "seen.sqlite")) as db:
        db.execute("ALTER TABLE sightings DROP COLUMN distance_m")
        db.execute("UPDATE facts SET value = '1' WHERE key = 'version'")
        db.commit()
    with closing(make_memory(tmp_path)) as memory:
        again = memory.recall("where is the red ball")
        assert (again.x_m, again.y_m) == (told.x_m, told.y_m)
        memory.remember(picture({"red ball": (4, 4)}), Pose())


def test_an_older_file_of_another_model_is_left_as_it_is(tmp_path: Path) -> None:
    make_memory(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "seen.sqlite")) as db:
        db.execute("UPDATE facts SET value = '1' WHERE key = 'version'")
        db.commit()
    with pytest.raises(ConfigError, match="another model"):
        make_memory(tmp_path, backend=SeeingBackend(seed=1))
    with closing(sqlite3.connect(tmp_path / "seen.sqlite")) as db:
        assert db.execute("SELECT value FROM facts WHERE key = 'version'").fetchone() == ("1",)


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    make_memory(tmp_path).close()
    with sqlite3.connect(tmp_path / "seen.sqlite") as db:
        db.execute("UPDATE facts SET value = '99' WHERE key = 'version'")
    with pytest.raises(ConfigError, match="version 99"):
        make_memory(tmp_path)


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to look at" * 50, b"SQLite format 3\0" + bytes(500)]
)
def test_a_file_that_is_none_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "seen.sqlite"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"seen\.sqlite"):
        make_memory(tmp_path)
    assert file.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        make_memory(tmp_path / "file" / "below")


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "seen.sqlite") as db:
        db.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(ConfigError, match=r"seen\.sqlite is no memory"):
        make_memory(tmp_path)


def test_a_model_that_cannot_tell_things_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedQueryError, match="relevance head"):
        SceneMemory(ScriptedBackend("x"), MemoryConfig(file=str(tmp_path / "x.sqlite")), now_ns=0)


def test_tags_live_in_the_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "x.sqlite", np.zeros((2, 5), np.float32), 0, "odom")
    store.tag(Tag("mug", np.arange(4, dtype=np.float32), 7, b"jpeg"))
    store.tag(Tag("mug", np.ones(4, np.float32), 8, b"jpeg"))
    (tag,) = store.tags()
    assert tag.stamp_ns == 8 and tag.vector.tolist() == [1, 1, 1, 1]


WRITER = """
    import sys
    from pathlib import Path
    from recalling import make_memory, picture
    from vila_core.types import Pose
    memory = make_memory(Path(sys.argv[1]))
    for number in range(100_000):
        memory.remember(picture({"red ball": (4, 4)}, stamp_s=number), Pose(number, 0, 0))
        print(number, flush=True)
"""


def test_a_writer_that_is_killed_loses_no_view_that_it_had_kept(tmp_path: Path) -> None:
    folders = [str(Path(__file__).parents[1] / "support"), *sys.path]
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
    )
    assert writer.stdout is not None
    told = -1
    for line in writer.stdout:
        told = int(line)
        if told >= 40:
            break
    writer.send_signal(signal.SIGKILL)
    told = max([told, *map(int, writer.stdout.read().split("\n")[:-1])])
    writer.wait()
    memory = make_memory(tmp_path)
    assert memory.views >= told + 1
    assert memory.recall("the red ball").view is not None
    memory.remember(make_frame(0), Pose())  # and goes on
