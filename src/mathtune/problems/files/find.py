"""Which files a path names: one file, a pattern, or a folder of shards."""

from __future__ import annotations

import glob
from pathlib import Path

from mathtune.errors import DataError, did_you_mean

ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
"""First word of a shard's name → its split, as the hub's loader sorts files."""


def ending_of(path: Path) -> str:
    """Return the extension by which a file is read: ``.json`` of ``a.json``, ``.json.gz``."""
    name = path.name.lower()
    return next((ending for ending in sorted(ENDINGS, key=len)[::-1] if name.endswith(ending)), "")


def data_files(path: Path, split: str | None, default: str) -> list[Path]:
    """Return the files that a path names, in order.

    Args:
        path: A file, a pattern such as ``data/train-*.parquet``, or a folder of shards.
        split: Split to read from a folder whose file names begin with the split.
        default: The split where none is named.

    Raises:
        DataError: There is none, they are of several kinds, or none is of that split.
    """
    try:
        if path.is_dir():
            return _of_split(path, _in_folder(path), split, default)
        if any(mark in path.name for mark in "*?[") and not path.exists():
            found = sorted(Path(each) for each in glob.glob(str(path)))
            if not found:
                raise DataError(f"no file matches {path}; check the pattern{_neighbours(path)}")
            return found
        check_is_file(path)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    if split is not None:
        raise DataError(
            f"{path} is a file, so split={split} has no meaning for it; leave split out, or "
            "add the name of the known set whose published files these are"
        )
    return [path]


def _in_folder(folder: Path) -> list[Path]:
    """Return the shards of a folder, or of ``data`` in it, where the hub's repositories have them.

    Metadata files of a saved data set are not shards.
    """
    for place in (folder, folder / "data"):
        found = [
            each
            for each in sorted(place.glob("*"))
            if ending_of(each) and not each.name.startswith((".", "dataset_info", "state.json"))
        ]
        kinds = sorted({ending_of(each) for each in found})
        if len(kinds) > 1:
            raise DataError(
                f"{place} holds files of several kinds ({', '.join(kinds)}); give the one to read, "
                f"for example {found[0]}, or a pattern such as {place / ('*' + kinds[0])}"
            )
        if found:
            return found
    if any(folder.glob("*.arrow")):
        raise DataError(
            f"{folder} holds Arrow files, as save_to_disk writes them; write the data set as "
            "Parquet (dataset.to_parquet) or JSON lines (dataset.to_json) and give that file"
        )
    raise DataError(
        f"{folder} is a folder without data files ({', '.join(ENDINGS)}); give one of its files, "
        "or add the name of the known set that it holds, for example name: gsm8k"
    )


def _of_split(folder: Path, found: list[Path], split: str | None, default: str) -> list[Path]:
    splits: dict[str, list[Path]] = {}
    for path in found:
        word = path.name.lower().replace("_", "-").replace(".", "-").split("-")[0]
        splits.setdefault(_SPLITS.get(word, ""), []).append(path)
    wanted = split or default
    if splits.keys() == {""} and split is None:
        return found
    if wanted not in splits:
        names = [name for name in splits if name]
        raise DataError(
            f"{folder} holds no {wanted} split{did_you_mean(wanted, names)}; its files are "
            f"{', '.join(path.name for path in found[:5])}{', …' if len(found) > 5 else ''}. "
            + (f"Set split to {' or '.join(names)}" if names else "Leave split out to read all")
        )
    return splits[wanted]


def check_is_file(path: Path) -> None:
    """Raise DataError unless a path is a file that problems can be read from."""
    if path.is_symlink() and not path.exists():
        raise DataError(
            f"{path} is a link to {path.readlink()}, which does not exist; fix the link"
        )
    if not path.exists():
        raise DataError(f"{path} does not exist; check the path{_neighbours(path)}")
    if not path.is_file():
        raise DataError(f"{path} is a device or a pipe; give a file, which can be read again")
    if not ending_of(path):
        raise DataError(
            f"{path} has {f'the ending {path.suffix!r}' if path.suffix else 'no ending'}; problems "
            f"are read from {', '.join(ENDINGS)}, so convert or rename it"
        )


def _neighbours(path: Path) -> str:
    """Name a few of the data files that are in the folder."""
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent} either)"
    found = sorted(each.name for each in path.parent.iterdir() if ending_of(each))
    where = "this folder" if path.parent == Path() else path.parent
    return f"; {where} holds {', '.join(found[:5])}" if found else ""
