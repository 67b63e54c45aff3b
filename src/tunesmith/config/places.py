"""Where a key stands: `file:line:column`, or the option that set it."""

from typing import Any

from tunesmith.config.yaml_source import KeyPath, Marks


class Places:
    """Gives the place of a key."""

    def __init__(self, file: str, marks: Marks, given: dict[KeyPath, Any]) -> None:
        self.file, self.marks, self.given = file, marks, given
        self.renamed: dict[str | int, str] = {}
        """New name of a key -> its name in the file."""

    def __call__(self, *path: str | int) -> str:
        """Return the place of the key at `path`, or of the block around it."""
        path = (self.renamed.get(path[0], path[0]), *path[1:])
        while path:
            if any(path[: len(option)] == option for option in self.given):
                return "--" + ".".join(map(str, path))
            if path in self.marks:
                return "{}:{}:{}".format(self.file, *self.marks[path])
            path = path[:-1]
        return self.file
