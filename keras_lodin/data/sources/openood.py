"""`openood:BENCHMARK:SETS`: the image lists of OpenOOD, where its images are on disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keras_lodin.data.named_source import SOURCES, NamedSource, Request
from keras_lodin.data.source import Source
from keras_lodin.data.sources.folder import load_images
from keras_lodin.utils.registry import did_you_mean

_CLASSIC, _LARGESCALE = "images_classic", "images_largescale"
_ID, _VALIDATION = "id", "validation"
_PARTS = {"train": "train", "calibration": "val", "test": "test", "all": "test"}
_DOWNLOAD = (
    "scripts/download/download.sh of https://github.com/Jingkang50/OpenOOD fetches lists and images"
)


@dataclass(frozen=True)
class _Benchmark:
    """What OpenOOD v1.5 takes for in-distribution data of one name.

    Attributes:
        images: the folder of the images.
        validation: the OOD set that OpenOOD chooses settings on.
        groups: group -> its data sets, which are tested on.
    """

    images: str
    validation: str
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_FAR_OF_CIFAR = ("mnist", "svhn", "texture", "places365")
_OF_IMAGENET = _Benchmark(
    _LARGESCALE,
    "openimage_o",
    {
        "near": ("ssb_hard", "ninco"),
        "far": ("inaturalist", "textures", "openimage_o"),
        "shifted": ("imagenet_v2", "imagenet_c", "imagenet_r"),
    },
)
_BENCHMARKS = {
    "cifar10": _Benchmark(_CLASSIC, "tin", {"near": ("cifar100", "tin"), "far": _FAR_OF_CIFAR}),
    "cifar100": _Benchmark(_CLASSIC, "tin", {"near": ("cifar10", "tin"), "far": _FAR_OF_CIFAR}),
    "imagenet200": _OF_IMAGENET,
    "imagenet": _OF_IMAGENET,
}


@dataclass(frozen=True)
class _ImageList:
    """A list of images and the folder that they are in, both below OpenOOD's folder."""

    path: str
    images: str


@SOURCES.register(
    "openood",
    description="openood:BENCHMARK:SETS[:PATH]: OpenOOD's image lists; openood:cifar10:near",
    position=3.5,
)
@dataclass(frozen=True)
class OpenOODLists(NamedSource):
    """Images that lists of OpenOOD v1.5 name, in the order of the lists.

    They are looked for in PATH, or else in `data_dir`, as OpenOOD's own download leaves them: lists
    of lines "path label" in `benchmark_imglist/`, images in `images_classic/` and
    `images_largescale/`. Nothing is read before the data are loaded, and then only the lists that
    are needed. Images are resized as those of every other source, which is not how OpenOOD does
    it.

    Args:
        benchmark: `cifar10`, `cifar100`, `imagenet200` or `imagenet`.
        sets: `id`, whose parts "train", "calibration" and "test" are OpenOOD's train, val and test
            lists, labelled; `near`, `far` or, of ImageNet, `shifted`, groups of data sets; one data
            set of a group, such as `tin`; or `validation`, the OOD data that OpenOOD chooses
            settings on.
        path: OpenOOD's folder of data; None for `data_dir`.
    """

    benchmark: str
    sets: str
    path: str | None

    @classmethod
    def parse(cls, argument: str) -> OpenOODLists:
        """The benchmark, what is wanted of it, and OpenOOD's folder."""
        # A path may hold colons.
        benchmark, _, rest = argument.partition(":")
        sets, _, path = rest.partition(":")
        if benchmark not in _BENCHMARKS:
            raise ValueError(
                f"The benchmark must be one of {', '.join(_BENCHMARKS)}."
                f"{did_you_mean(benchmark, _BENCHMARKS)}"
            )
        groups = _BENCHMARKS[benchmark].groups
        singles = [one for group in groups.values() for one in group]
        known = [_ID, *groups, *singles, _VALIDATION]
        if sets not in known:
            raise ValueError(
                f"Of {benchmark} there are {', '.join(known)}.{did_you_mean(sets, known)}"
            )
        # A shell leaves the `~` as it is.
        return cls(benchmark, sets, os.path.expanduser(path) if path else None)

    @property
    def has_parts(self) -> bool:
        """Of the in-distribution data alone."""
        return self.sets == _ID

    @property
    def reads_data_dir(self) -> bool:
        """Where the specification has no path."""
        return self.path is None

    @property
    def group(self) -> str | None:
        """The name of the group."""
        return self.sets if self.sets in _BENCHMARKS[self.benchmark].groups else None

    @property
    def members(self) -> tuple[str, ...]:
        """The specifications of a group's data sets."""
        end = "" if self.path is None else f":{self.path}"
        single = _BENCHMARKS[self.benchmark].groups.get(self.sets, ())
        return tuple(f"openood:{self.benchmark}:{one}{end}" for one in single)

    def overlaps(self, other: OpenOODLists, whole: bool) -> bool:
        """Whether they share a list of the same folder; with `whole`, all lists."""
        places = [None if one.path is None else os.path.realpath(one.path) for one in (self, other)]
        if places[0] != places[1]:
            return False
        ours, theirs = (set(one._lists("test")) for one in (self, other))
        return ours == theirs if whole else bool(ours & theirs)

    def missing(self, data_dir: str | os.PathLike[str] | None) -> str | None:
        """Which lists and how many of their images are not there, of all parts' lists."""
        return _missing(self._root(data_dir), self._lists(*_PARTS))

    def digest(self) -> str | None:
        """Of the lists, whose images have names for good; None without a path."""
        if self.path is None:
            return None
        digest = hashlib.sha256()
        for one in self._lists(*_PARTS):
            digest.update(Path(self.path, one.path).read_bytes())
        return digest.hexdigest()

    def load(self, request: Request) -> Source:
        """A `Source`, labelled if the lists have labels: those of OOD data are -1.

        Its `count` is `None`: only reading tells which images are readable.

        Raises:
            FileNotFoundError: If lists or images are not there; all of them are named at once.
            ValueError: If the folder is not given, or a list is none.
        """
        root = self._root(request.data_dir)
        lists = self._lists(request.part)
        problem = _missing(root, lists)
        if problem is not None or root is None:
            raise FileNotFoundError(f"{problem}. Received: {request.name!r}")
        paths: list[str] = []
        labels: list[int] = []
        for one in lists:
            for name, label in _read_list(root / one.path):
                paths.append(str(root / one.images / name))
                labels.append(label)
        return load_images(
            paths,
            image_shape=request.image_shape,
            input_range=request.input_range,
            name=request.name,
            labels=labels if min(labels) >= 0 else None,
        )

    def _root(self, data_dir: str | os.PathLike[str] | None) -> Path | None:
        given = self.path if self.path is not None else data_dir
        return None if given is None else Path(given)

    def _lists(self, *parts: str) -> list[_ImageList]:
        """The lists of the data sets, of some parts where there are parts."""
        benchmark = _BENCHMARKS[self.benchmark]
        if self.sets == _ID:
            names = dict.fromkeys(f"{_PARTS[part]}_{self.benchmark}" for part in parts)
            return [self._list(name, benchmark.images) for name in names]
        if self.sets == _VALIDATION:
            return [self._list(f"val_{benchmark.validation}", benchmark.images)]
        return [
            self._list(
                # The shifted data of 200 classes are others than those of 1,000.
                f"test_{one.replace('imagenet', self.benchmark)}",
                # These photographs of CIFAR's benchmarks are those of ImageNet's.
                _CLASSIC if one == "textures" else benchmark.images,
            )
            for one in benchmark.groups.get(self.sets, (self.sets,))
        ]

    def _list(self, name: str, images: str) -> _ImageList:
        return _ImageList(f"benchmark_imglist/{self.benchmark}/{name}.txt", images)


def _missing(root: Path | None, lists: Sequence[_ImageList]) -> str | None:
    """What is not there, in words; None where all is."""
    if root is None:
        return (
            "the folder of OpenOOD's data is not given: pass it as `data_dir` (--data-dir PATH), "
            "or at the end, as in 'openood:cifar10:near:PATH'"
        )
    absent = [one.path for one in lists if not (root / one.path).is_file()]
    problems = [f"the image lists {', '.join(absent)} are not in {root}"] if absent else []
    for one in lists:
        if one.path not in absent:
            names = [name for name, _ in _read_list(root / one.path)]
            gone = _not_in(root / one.images, names)
            if gone:
                problems.append(
                    f"{len(gone)} of the {len(names)} images of {one.path} are not in "
                    f"{root / one.images}, the first of them {gone[0]}"
                )
    return f"{'; '.join(problems)} ({_DOWNLOAD})" if problems else None


def _not_in(folder: Path, names: Sequence[str]) -> list[str]:
    """Those of many files that are not there; each folder is read once, not asked for each file."""
    there: dict[str, set[str]] = {}
    gone = []
    for name in names:
        parent, _, leaf = name.rpartition("/")
        if parent not in there:
            try:
                there[parent] = set(os.listdir(folder / parent))
            except OSError:
                there[parent] = set()
        if leaf not in there[parent]:
            gone.append(name)
    return gone


def _read_list(path: Path) -> list[tuple[str, int]]:
    """Path and label of each image of a list."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        try:
            found.append((name.strip(), int(label)))
        except ValueError:
            name = ""
        if not name:
            raise ValueError(
                f"{path} is no list of OpenOOD, whose lines are the path of an image, a space and "
                f"a whole number, -1 for no class. Received: line {number}: {line[:100]!r}"
            )
    if not found:
        raise ValueError(f"The list {path} names no image. Received: path={str(path)!r}")
    return found
