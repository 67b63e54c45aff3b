"""The reply cache: replies on disk by the hash of their request, so that no request is sent twice.

One SQLite file. Each reply is a transaction, which a SIGKILL cannot tear, and several processes may share the file.
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
"""Seconds that a process waits for a writing one."""


class Replies:
    """The replies in a folder; usable from any thread."""

    def __init__(self, folder: Path) -> None:
        """Open or create the file.

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
            raise self._as_run_error(error) from error

    def get(self, key: str) -> Completion | None:
        """Return the reply with a key."""
        try:
            with self._lock:
                row = self._base.execute("SELECT * FROM replies WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._as_run_error(error) from error
        return Completion(row[1], row[2], row[3], bool(row[4])) if row else None

    def put(self, key: str, reply: Completion) -> None:
        """Save a reply; it is on disk when this returns. If two processes save one, the first stays."""
        try:
            with self._lock:
                self._base.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?)", (key, *reply))
        except sqlite3.Error as error:
            raise self._as_run_error(error) from error

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def _as_run_error(self, error: Exception) -> RunError:
        return RunError(f"{self.file} cannot be used: {error}; set `cache` to another folder")
