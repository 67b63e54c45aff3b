"""Where the keys of a config stand, and the status of each."""

from typing import Any, Literal, NamedTuple

KeyPath = tuple[str | int, ...]
"""Names and indexes that lead to a key, such as ("datasets", 0, "path")."""
Marks = dict[KeyPath, tuple[int, int]]
"""Path of a key -> its line and column, counted from 1."""


class KeyStatus(NamedTuple):
    """What happens to one key of a file: its name there, its location, its status and the reason."""

    key: str
    location: str
    status: Literal["supported", "renamed", "ignored", "off", "empty"]
    text: str


class KeyLocations:
    """Gives the location of a key: `file:line:column`, or the option that set it."""

    def __init__(self, file: str, marks: Marks, options: dict[KeyPath, Any]) -> None:
        self.file, self.marks, self.options = file, marks, options
        self.renamed: dict[str | int, str] = {}
        """New name of a key -> its name in the file."""

    def __call__(self, *path: str | int) -> str:
        """Return the location of the key at `path`, or of the block around it."""
        path = (self.renamed.get(path[0], path[0]), *path[1:])
        while path:
            if any(path[: len(option)] == option for option in self.options):
                return "--" + ".".join(map(str, path))
            if path in self.marks:
                return "{}:{}:{}".format(self.file, *self.marks[path])
            path = path[:-1]
        return self.file
