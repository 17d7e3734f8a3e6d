"""Names of folders that hold a split: `Training`, `test_set`, `01_val`, `seg_train`."""

import re

SPLIT_FOLDERS = {
    word: split
    for split, words in {
        "train": ("train", "training", "trn", "trainval"),
        "val": ("val", "valid", "validation", "validate", "dev", "devel", "development"),
        "test": ("test", "testing", "tst", "eval", "evaluation", "holdout", "heldout"),
    }.items()
    for word in words
}

_FILLERS = (
    *("set", "sets", "data", "dataset", "images", "image", "imgs", "img", "pictures", "photos"),
    *("split", "folder", "dir", "classes"),
)
_GLUED = re.compile(rf"({'|'.join(SPLIT_FOLDERS)})({'|'.join(_FILLERS)})?")
_WORDS = re.compile(r"[^\W\d_]+")
_TWO_WORDS = {"hold out": "holdout", "held out": "heldout", "train val": "trainval"}


_PART = re.compile(r".*(part|fold|batch|chunk|shard|subset|images|imgs)[\s_.-]*\d+")


def names_no_class(name: str) -> bool:
    """Whether a folder's name says no more than that images are inside: `images`, `Image Data`."""
    words = _WORDS.findall(name.casefold())
    return bool(words) and all(word in _FILLERS for word in words)


def names_a_part(name: str) -> bool:
    """Whether a folder's name tells a part of a set, by a number: `fold1`, `images_part_2`."""
    return _PART.fullmatch(name.casefold()) is not None


def split_of(name: str) -> tuple[str, str] | None:
    """The split that a folder's name tells, and what else it says; None for any other name.

    >>> split_of("01_train"), split_of("seg_test"), split_of("cat")
    (('train', ''), ('test', 'seg'), None)
    """
    text = " ".join(_WORDS.findall(name.casefold()))
    for apart, together in _TWO_WORDS.items():
        text = text.replace(apart, together)
    words = [word for word in text.split() if word not in _FILLERS]
    glued = [_GLUED.fullmatch(word) for word in words]
    splits = {SPLIT_FOLDERS[match[1]] for match in glued if match}
    if len(splits) != 1:
        return None
    rest = (word for word, match in zip(words, glued, strict=True) if not match)
    return splits.pop(), " ".join(rest)
