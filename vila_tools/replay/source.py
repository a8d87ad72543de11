"""What is replayed: a bag of ours, any other bag with images, or a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from vila_core.errors import CutMediaError, MediaError
from vila_core.media.bags import BagImage, bag_images, image_topics
from vila_core.media.pictures import IMAGE_SUFFIXES
from vila_ros.common.topics import COMPRESSED_SUFFIX, FRAMES
from vila_tools.replay.recording import Recording, read_recording

SAMPLE = Path(__file__).parent / "sample" / "flat.mcap"  # a run that comes with the package
T = TypeVar("T")


@dataclass(slots=True)
class Source:
    """A bag that was opened, or a folder of pictures.

    recording: what it tells beside images, of a folder nothing. topics: of images. topic: the camera to take, "" for
    the only one. takes_cut: what is in front of a cut will do; cut: in words, "" if nothing is missing.
    """

    path: Path
    recording: Recording = field(default_factory=Recording)
    topics: tuple[str, ...] = ()
    topic: str = ""
    is_folder: bool = False
    takes_cut: bool = False
    cut: str = ""

    @property
    def frames(self) -> str:
        """The topic of the images that decisions were made of, "" without one. Raises MediaError if it is not one."""
        if _is_frames(self.topic):
            return self.topic
        return self._only([name for name in self.topics if _is_frames(name)])

    @property
    def camera(self) -> str:
        """The topic of the camera's other images. Raises MediaError if there are several, and none is named."""
        if self.topic and not _is_frames(self.topic):
            return self.topic
        return self._only([name for name in self.topics if not _is_frames(name)])

    def images(self, *topics: str) -> Iterator[BagImage]:
        """Yield the images of these topics, "" passed over. Raises MediaError as bag_images does."""
        wanted = [topic for topic in topics if topic]
        yield from self.whole(bag_images(self.path, wanted)) if wanted else ()

    def whole(self, items: Iterable[T]) -> Iterator[T]:
        """Pass on what is read of the bag, up to where it is cut if that will do."""
        try:
            yield from items
        except CutMediaError as err:
            if not self.takes_cut:
                raise CutMediaError(f"{err}; --cut takes what is in front of that") from err
            self.cut = str(err)

    def _only(self, names: Sequence[str]) -> str:
        """The one topic; of a camera whose images are there raw and compressed, the raw one."""
        left = [name for name in names if name.removesuffix(COMPRESSED_SUFFIX) not in {*names} - {name}]
        if len(left) > 1:
            raise MediaError(f"{self.path} holds images on {', '.join(left)}; name one with --topic")
        return left[0] if left else ""


def open_source(path: Path, *, topic: str = "", odometry: str = "", takes_cut: bool = False) -> Source:
    """Read all of a bag but its images.

    topic: of images, odometry: of odometry, where there are several. Raises MediaError for a bag that cannot be read
    whole, or holds no images, or not on the topic.
    """
    if _is_folder_of_pictures(path):
        return Source(path, is_folder=True)
    source = Source(path, topic=topic, takes_cut=takes_cut)
    source.topics = tuple(sorted(set(source.whole(image_topics(path)))))
    if not source.topics:
        raise MediaError(f"{path} holds no images, so there is nothing to replay")
    if topic and topic not in source.topics:
        raise MediaError(f"{path} holds no images on {topic}; it holds them on {', '.join(source.topics)}")
    source.recording = read_recording(path, odometry, source.whole)
    return source


def _is_frames(topic: str) -> bool:
    return topic.removesuffix(COMPRESSED_SUFFIX).endswith(FRAMES)


def _is_folder_of_pictures(path: Path) -> bool:
    try:
        return path.is_dir() and any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir())
    except OSError as err:
        raise MediaError(f"the folder {path} may not be read: {err.strerror}") from err
