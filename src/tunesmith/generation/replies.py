"""Replies kept on disk by the content of their request, so that nothing is asked twice.

One SQLite file: each reply is committed on its own, which a SIGKILL cannot tear, and several processes may share it.
"""

import sqlite3
from pathlib import Path
from threading import Lock

from tunesmith.errors import RunError
from tunesmith.generation.exchange import Completion

_TABLE = """CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, text TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, cut INTEGER
)"""
_WAIT = 60.0
"""Seconds that a process waits for another one that writes."""


class Replies:
    """The replies in a folder; to be used from any thread."""

    def __init__(self, folder: Path) -> None:
        """Open the file, or make it.

        Raises:
            RunError: it is damaged, or cannot be written.
        """
        self.file = folder / "replies.sqlite"
        self._lock = Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self.file, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            self._base.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise self._broken(error) from error

    def get(self, key: str) -> Completion | None:
        """Return the reply that is kept under a key."""
        try:
            with self._lock:
                found = self._base.execute("SELECT * FROM replies WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._broken(error) from error
        return Completion(found[1], found[2], found[3], bool(found[4])) if found else None

    def put(self, key: str, reply: Completion) -> None:
        """Keep a reply; it is on disk when this returns. The first one of two processes stays."""
        try:
            with self._lock:
                self._base.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?)", (key, *reply))
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _broken(self, error: Exception) -> RunError:
        return RunError(f"{self.file} cannot be used: {error}; set `cache` to another folder")
