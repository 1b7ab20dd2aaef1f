"""Recorded gazes: those of a bag's GazeMask topics, or of a gazes.jsonl, as they are."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autogaze_ros.errors import BagError, ParameterError, SourceError
from autogaze_ros.io.bag_types import COMPRESSED_IMAGE, IMAGE
from autogaze_ros.io.bags import GAZE_MASK, Bag, is_semantic, open_bag, stamp_of
from autogaze_ros.pipeline import GazeRecord, StageLatency
from autogaze_ros.reporting import listed, shown
from autogaze_ros.synthetic.cameras import semantic_name
from autogaze_ros.tokens import AUTOGAZE_GRID

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

LINES = "gazes.jsonl"  # of `autogaze gaze`
_OUTPUTS = ("gaze_mask", "overlay", "reconstruction")  # of the node, beside a camera's gazes
_IMAGES = (IMAGE, COMPRESSED_IMAGE)
_NO_MASK = np.zeros(0, np.uint8)
_FRAME_ID = 12  # offset of a header's frame_id in CDR: its length, then its bytes
_SECOND = 1_000_000_000  # nanoseconds


@dataclass(frozen=True)
class RecordedGaze:
    """A gaze.

    stamp: of its image, nanoseconds.
    frame_id: of its image.
    record: the fields of GazeMask; masks and ages are empty.
    """

    stamp: int
    frame_id: str
    record: GazeRecord


@dataclass(frozen=True)
class RecordedImages:
    """The images that a camera's gazes belong to.

    topic: of the images.
    stamps: nanoseconds, in the order of recording.
    """

    topic: str
    stamps: tuple[int, ...]


@dataclass(frozen=True)
class RecordedCamera:
    """A camera's gazes in a recording.

    source: the recording, as the user gave it.
    name: of the camera.
    gazes: at least one, in the order of recording.
    images: None if the recording holds none of these.
    semantic_topic: topic of the images of a semantic camera in the same place; empty if there is none.
    notes: problems, one line each.
    """

    source: str
    name: str
    gazes: tuple[RecordedGaze, ...]
    images: RecordedImages | None = None
    semantic_topic: str = ""
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return a title of one line."""
        return f"{Path(self.source).name or self.source} {self.name}"

    @cached_property
    def runs(self) -> tuple[slice, ...]:
        """Gazes of each context, or of the part of it that is recorded."""
        starts = [0]
        for place, (before, gaze) in enumerate(zip(self.gazes, self.gazes[1:], strict=False), 1):
            old, new = before.record, gaze.record
            if new.stream_id != old.stream_id or new.index_in_context <= old.index_in_context:
                starts.append(place)
        return tuple(map(slice, starts, [*starts[1:], len(self.gazes)]))

    def is_whole(self, run: slice) -> bool:
        """Return True if no gaze is missing from the beginning of a context to the last of a run."""
        indices = [gaze.record.index_in_context for gaze in self.gazes[run]]
        return indices == list(range(len(indices)))


@dataclass(frozen=True)
class Recorded:
    """The gazes of a source.

    notes: problems of the source as a whole, one line each.
    """

    source: str
    cameras: tuple[RecordedCamera, ...]
    notes: tuple[str, ...] = ()


def gaze_lines(source: str | os.PathLike[str]) -> Path | None:
    """Return the gazes.jsonl that a source is or, as a folder, holds; None for other sources."""
    path = Path(source)
    if path.is_dir() and (path / LINES).is_file():
        return path / LINES
    return path if path.suffix == ".jsonl" and path.is_file() else None


def read_recorded(source: str, camera: str = "", topic: str = "") -> Recorded:
    """Read the gazes of a bag or a gazes.jsonl; raises SourceError, ParameterError and OSError.

    camera: names of cameras, separated by commas; empty or `all`: all.
    topic: of the images of the only camera; by default images with the stamps of its gazes.
    """
    found = _read_lines(source, path) if (path := gaze_lines(source)) else _read_bag(source)
    chosen = _chosen(found, camera)
    if gaze_lines(source):
        if topic:
            raise ParameterError(f"--topic names images of a bag, and {source} holds only gazes")
        return chosen
    if topic and len(chosen.cameras) > 1:
        names = listed([one.name for one in chosen.cameras])
        raise ParameterError(f"--topic names the images of one camera; choose it of {names} with --camera")
    return _with_images(chosen, topic)


def _chosen(found: Recorded, wanted: str) -> Recorded:
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    if not names or names == ["all"]:
        return found
    known = [camera.name for camera in found.cameras]
    if unknown := [name for name in names if name not in known]:
        raise SourceError(
            f"{found.source} holds no gazes of {listed(unknown)}; it has those of {listed(known)}"
        )
    return replace(found, cameras=tuple(camera for camera in found.cameras if camera.name in names))


class _Gazes:
    """Gathers gazes by topic and camera, and counts those that are left out by reason."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._gazes: dict[tuple[str, str], list[RecordedGaze]] = {}
        self._left_out: Counter[tuple[str, str]] = Counter()

    def add(self, topic: str, fields: Mapping[str, Any]) -> None:
        """Add the gaze of a message's fields, or count it as left out."""
        try:
            gaze = _gaze(fields)
        except SourceError as error:
            self.leave_out(topic, str(error))
        else:
            self._gazes.setdefault((topic, gaze.record.camera), []).append(gaze)

    def leave_out(self, topic: str, reason: str, count: int = 1) -> None:
        """Count gazes that are left out."""
        self._left_out[topic, reason] += count

    def recorded(self, notes: Iterable[str]) -> Recorded:
        """Return all cameras; raises SourceError if there is no gaze."""
        left_out = [
            f"{shown(topic or self._source)}: {count} of its gazes left out: {shown(reason)}"
            for (topic, reason), count in self._left_out.items()
        ]
        if not self._gazes:
            reason = f": {left_out[0]}" if left_out else ""
            raise SourceError(f"{self._source} holds no readable gaze{reason}")
        times = Counter(camera for _, camera in self._gazes)
        cameras = [
            RecordedCamera(self._source, camera if times[camera] == 1 else topic, tuple(gazes))
            for (topic, camera), gazes in self._gazes.items()
        ]
        return Recorded(self._source, tuple(cameras), (*notes, *left_out))


def _read_lines(source: str, path: Path) -> Recorded:
    gazes = _Gazes(source)
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                fields = json.loads(line)
            except (ValueError, RecursionError):
                cut = not line.endswith("\n")
                gazes.leave_out("", "the last line is cut off" if cut else "lines that are not JSON")
            else:
                gazes.add("", fields if isinstance(fields, dict) else {})
    return gazes.recorded(())


def _read_bag(source: str) -> Recorded:
    gazes = _Gazes(source)
    with open_bag(Path(source)) as bag:
        connections = [one for one in bag.connections if one.msgtype == GAZE_MASK]
        if not connections:
            others = listed(sorted({f"{one.topic} ({one.msgtype})" for one in bag.connections}))
            raise BagError(f"{source} holds no gazes ({GAZE_MASK}), only {others or 'nothing'}")
        notes = [shown(note) for note in bag.notes]
        for connection, data in _readable(bag, connections, notes):
            try:
                fields = _fields(bag.decode(connection, data))
            except BagError as error:
                gazes.leave_out(connection.topic, str(error))
            else:
                gazes.add(connection.topic, fields)
        for topic, count in bag.left_out.items():
            gazes.leave_out(topic, "their messages are damaged", count)
    return gazes.recorded(notes)


def _readable(
    bag: Bag, connections: Sequence[Connection], notes: list[str]
) -> Iterator[tuple[Connection, bytes]]:
    """Yield the messages of a bag up to its damage, which is noted."""
    try:
        for connection, _, data in bag.messages(connections):
            yield connection, data
    except BagError as error:
        if str(error) not in notes:
            notes.append(shown(error))


def _fields(message: Any) -> dict[str, Any]:
    """Return the fields of a message, those of nested messages as dictionaries."""
    return {
        name: _fields(value) if hasattr(value, "__msgtype__") else value
        for name, value in vars(message).items()
    }


def _gaze(fields: Mapping[str, Any]) -> RecordedGaze:
    """Return the gaze of the fields of a GazeMask; raises SourceError.

    Floats become those of the message, of 32 bits; null in JSON is NaN, and -inf as requirement.
    """
    try:
        stamp, times = fields["header"]["stamp"], fields["latency"]
        rows, columns, mask = fields["grid_rows"], fields["grid_cols"], np.asarray(fields["mask"])
        edge = AUTOGAZE_GRID.mask_size
        if (rows, columns, mask.size) != (edge, edge, edge * edge):
            raise SourceError(f"masks of {rows}x{columns} cells are of another grid than {edge}x{edge}")
        ids = np.asarray(fields["token_ids"], np.int64)
        counts = np.asarray(fields["tokens_per_scale"], np.int64)
        if ids.size and not (ids.min() >= 0 and ids.max() < AUTOGAZE_GRID.num_tokens):
            raise SourceError(f"token ids of another grid than that of {AUTOGAZE_GRID.num_tokens} tokens")
        if len(np.unique(ids)) != ids.size or (counts != AUTOGAZE_GRID.tokens_per_scale(ids)).any():
            raise SourceError("token ids contradict their counts by scale")
        nanoseconds = int(stamp["nanosec"])
        if not 0 <= nanoseconds < _SECOND:
            raise SourceError("stamps of more than a second in nanoseconds")
        requirement = fields["task_loss_requirement"]
        record = GazeRecord(
            camera=str(fields["camera"]),
            image_width=int(fields["image_width"]),
            image_height=int(fields["image_height"]),
            stream_id=int(fields["stream_id"]),
            frame_index=int(fields["frame_index"]),
            index_in_context=int(fields["index_in_context"]),
            dropped_since_last=int(fields["dropped_since_last"]),
            token_ids=ids.astype(np.uint16),
            tokens_per_scale=counts.astype(np.uint16),
            mask=_NO_MASK,
            context_mask=_NO_MASK,
            cell_age=_NO_MASK,
            coverage=_float(fields["coverage"]),
            area=_float(fields["area"]),
            context_area=_float(fields["context_area"]),
            predicted_loss=_float(fields["predicted_loss"]),
            gazing_ratio=_float(fields["gazing_ratio"]),
            task_loss_requirement=-math.inf if requirement is None else _float(requirement),
            selector=str(fields["selector"]),
            latency=StageLatency(
                batch_size=int(times["batch_size"]), **{name: _float(times[name]) for name in _STAGES}
            ),
        )
        return RecordedGaze(
            int(stamp["sec"]) * _SECOND + nanoseconds, str(fields["header"]["frame_id"]), record
        )
    except KeyError as error:
        raise SourceError(f"they lack the field {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise SourceError(f"fields of a wrong type or range ({shown(error, 100)})") from error


_STAGES = ("wait", "preprocess", "gaze", "reconstruct", "render", "total", "age")


def _float(value: Any) -> float:
    return math.nan if value is None else float(np.float32(value))


@dataclass(frozen=True)
class _Topic:
    """Stamps and frame ids of the images on a topic, in the order of recording."""

    name: str
    compressed: bool
    heads: tuple[tuple[int, str], ...]


def _with_images(found: Recorded, topic: str) -> Recorded:
    """Add to each camera its images and its semantic topic."""
    notes: list[str] = []
    with open_bag(Path(found.source)) as bag:
        bases = [one.topic.removesuffix("gaze") for one in bag.connections if one.msgtype == GAZE_MASK]
        outputs = tuple(base + name for base in bases for name in _OUTPUTS)
        images = [one for one in bag.connections if one.msgtype in _IMAGES]
        if topic:
            images = [one for one in images if one.topic == bag.image_topic(topic) or is_semantic(one.topic)]
        images = [one for one in images if not one.topic.startswith(outputs)]
        heads: dict[tuple[str, str], list[tuple[int, str]]] = {(c.topic, c.msgtype): [] for c in images}
        for connection, data in _readable(bag, images, notes):
            heads[connection.topic, connection.msgtype].append((stamp_of(data), _frame_id(data)))
    topics = [_Topic(name, kind == COMPRESSED_IMAGE, tuple(found)) for (name, kind), found in heads.items()]
    cameras = tuple(_with_topics(camera, topics, forced=bool(topic)) for camera in found.cameras)
    return replace(found, cameras=cameras, notes=tuple(dict.fromkeys((*found.notes, *notes))))


def _frame_id(data: bytes) -> str:
    """Return the frame id of a message that begins with a header, from its CDR bytes."""
    order = "little" if data[1] & 1 else "big"
    length = int.from_bytes(data[_FRAME_ID : _FRAME_ID + 4], order)  # type: ignore[arg-type]
    return data[_FRAME_ID + 4 : _FRAME_ID + 4 + length].rstrip(b"\0").decode(errors="replace")


def _with_topics(camera: RecordedCamera, topics: Sequence[_Topic], *, forced: bool) -> RecordedCamera:
    """Add a camera's images and semantic topic.

    Images have the frame id and the stamps of the gazes; of several such topics, one without
    compression and with the shortest name is taken.

    forced: take the only topic of images, whatever its frame id.
    """
    wanted = {(gaze.stamp, gaze.frame_id) for gaze in camera.gazes}
    frame_id = camera.gazes[0].frame_id
    seen = [topic for topic in topics if not is_semantic(topic.name)]
    ranks = {topic: len(wanted.intersection(topic.heads)) for topic in seen}
    candidates = seen if forced else [topic for topic in seen if ranks[topic]]
    candidates.sort(key=lambda topic: (-ranks[topic], topic.compressed, len(topic.name), topic.name))
    notes = list(camera.notes)
    best = candidates[0] if candidates else None
    if seen and best is None:
        notes.append(f"{shown(camera.name)}: the bag holds no images with the stamps of its gazes")
    rivals = [
        topic.name
        for topic in candidates[1:]
        if best and ranks[topic] == ranks[best] and topic.compressed == best.compressed
    ]
    if best and rivals:
        notes.append(
            f"{shown(camera.name)}: images are those on {shown(best.name)}; {listed(rivals)} has the same"
            " stamps, and --topic chooses it"
        )
    names = [name for name in (frame_id, best.name if best else "") if name]
    semantic = [topic for topic in topics if any(_is_beside(topic, name) for name in names)]
    semantic.sort(key=lambda topic: (topic.compressed, topic.name))
    return replace(
        camera,
        images=RecordedImages(best.name, tuple(stamp for stamp, _ in best.heads)) if best else None,
        semantic_topic=semantic[0].name if semantic else "",
        notes=tuple(notes),
    )


def _is_beside(topic: _Topic, name: str) -> bool:
    """Return True for the topic of the semantic camera beside a camera, by its frame id or topic."""
    *above, last = name.removesuffix("/compressed").removesuffix("/image").strip("/").split("/")
    beside = "/".join([*above, semantic_name(last)])
    return is_semantic(topic.name) and f"{topic.name}/".find(f"/{beside}/") >= 0
