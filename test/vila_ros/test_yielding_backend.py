import pytest

pytest.importorskip("vila_ros")

from vila_core.errors import BackendError, FrameError
from vila_core.testing import ScriptedBackend, make_frame
from vila_core.types import Prompt
from vila_ros.navigator.yielding_backend import YieldingBackend


def test_it_gives_way_before_each_call_and_passes_everything_on() -> None:
    gaps: list[int] = []
    backend = ScriptedBackend("left", "right")
    polite = YieldingBackend(backend, lambda: gaps.append(len(backend.prompts)))
    assert polite.info is backend.info and gaps == []
    assert polite.choose(Prompt("where?"), ("left", "right")).index == 0
    assert polite.generate(Prompt("where?"), max_new_tokens=3) == "right"
    assert polite.encode(make_frame(1)) and gaps == [0, 1, 2]
    polite.close()
    assert backend.closed


def test_new_frames_are_encoded_one_by_one_before_they_are_scored() -> None:
    gaps: list[int] = []
    backend = ScriptedBackend("left")
    backend.relevances["lamp"] = lambda frame: 0.5
    polite = YieldingBackend(backend, lambda: gaps.append(len(backend.encoded)))
    frames = [make_frame(stamp) for stamp in (1, 2, 3, 4)]
    assert polite.relevance("lamp", frames[:3]) == (0.5, 0.5, 0.5)
    assert [frame.stamp_ns for frame in backend.encoded] == [1, 2, 3] and gaps == [0, 1, 2, 3]
    polite.relevance("lamp", frames[1:])
    assert [frame.stamp_ns for frame in backend.encoded] == [1, 2, 3, 4] and gaps == [0, 1, 2, 3, 3, 4]


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyError("x"), MemoryError("full")])
def test_what_is_not_ours_becomes_a_backend_error(error: Exception) -> None:
    with pytest.raises(BackendError, match=type(error).__name__) as caught:
        YieldingBackend(ScriptedBackend(error), lambda: None).generate(Prompt("where?"), 3)
    assert caught.value.__cause__ is error


def test_our_own_errors_stay_as_they_are() -> None:
    with pytest.raises(FrameError, match="black"):
        YieldingBackend(ScriptedBackend(FrameError("black")), lambda: None).generate(Prompt("where?"), 3)


def test_nothing_is_asked_once_the_way_is_closed() -> None:
    def ends() -> None:
        raise BackendError("the worker ends")

    backend = ScriptedBackend("left")
    with pytest.raises(BackendError, match="ends"):
        YieldingBackend(backend, ends).generate(Prompt("where?"), 3)
    assert backend.prompts == []
