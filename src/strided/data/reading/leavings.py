"""What machines and programs leave in a user's folders: never data."""

from collections.abc import Sequence

# beside all names that begin with a dot: .DS_Store, .ipynb_checkpoints, .Trash-1000, ._photo.jpg
_LEAVINGS = frozenset(
    name.casefold()
    for name in (
        *(
            "__MACOSX",
            "Icon\r",
            "Network Trash Folder",
            "Temporary Items",
            "TheVolumeSettingsFolder",
        ),
        *("Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),  # Windows
        *("$RECYCLE.BIN", "RECYCLER", "System Volume Information", "FOUND.000"),
        *("@eaDir", "#recycle", "#snapshot", "@tmp", "@SynoResource"),  # Synology
        *("@Recycle", "@Recently-Snapshot", "@__thumb"),  # QNAP
        *("lost+found", "__pycache__"),
        "DICOMDIR",  # the list of the files on a disc of DICOM, without a picture
    )
)


def is_leaving(name: str) -> bool:
    """Whether the system made a file or folder of this name, not the user."""
    return name.startswith(".") or name.casefold() in _LEAVINGS


def is_hidden(parts: Sequence[str]) -> bool:
    """Whether the system made a path, not the user: `.DS_Store`, `cat/@eaDir/1.jpg`."""
    return any(map(is_leaving, parts))
