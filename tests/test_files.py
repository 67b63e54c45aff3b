import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.errors import RunError
from tunesmith.files import (
    append_json_line,
    hash_file,
    hash_text,
    hold_lock,
    write_binary,
    write_files,
    write_folder,
    write_json,
    write_json_lines,
    write_text,
)


def run_until(line, code, *arguments):
    """Start Python code, and return its process once it has printed a line."""
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == line + "\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_text_json_and_lines_are_written_as_they_are(tmp_path):
    write_text(tmp_path / "a.txt", "café\r\n\ud800")
    write_json(tmp_path / "a.json", {"é": tmp_path}, indent=None)
    write_json_lines(tmp_path / "a.jsonl", [{"a": 1}, {"a": 2}])
    append_json_line(tmp_path / "a.jsonl", {"a": "ü"})
    with write_binary(tmp_path / "a.bin") as stream:
        stream.write(b"\x00")

    assert (tmp_path / "a.txt").read_bytes() == "café\r\n\\ud800".encode()
    assert json.loads((tmp_path / "a.json").read_text()) == {"é": str(tmp_path)}
    assert (tmp_path / "a.jsonl").read_text() == '{"a": 1}\n{"a": 2}\n{"a": "ü"}\n'
    assert (tmp_path / "a.bin").read_bytes() == b"\x00"
    assert len(list(tmp_path.iterdir())) == 4


def test_a_link_stays_a_link_and_a_file_keeps_its_mode(tmp_path):
    (tmp_path / "target").mkdir()
    target, link = tmp_path / "target/a.txt", tmp_path / "a.txt"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)

    write_text(link, "new")

    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_directly(capfd):
    write_text(Path("/dev/stdout"), "shown")
    assert capfd.readouterr().out == "shown"


def test_an_error_leaves_the_old_content_of_all_files_and_no_litter(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ValueError, match="stop"), write_files() as open_file:  # noqa: PT012
        open_file(tmp_path / "a").write("new")
        open_file(tmp_path / "b").write("new")
        raise ValueError("stop")
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("a", "old")]


def test_a_write_killed_halfway_leaves_the_old_content_and_the_next_one_removes_its_litter(tmp_path):
    file = tmp_path / "a[1].txt"
    file.write_text("old")
    code = """
import sys, time
from pathlib import Path
from tunesmith.files import write_files
with write_files() as open_file:
    open_file(Path(sys.argv[1])).write("half" * 100_000)
    print("writing", flush=True)
    time.sleep(60)
"""
    kill(run_until("writing", code, file))
    assert file.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2

    write_text(file, "new")

    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [(file.name, "new")]


def test_the_litter_of_a_living_process_stays(tmp_path):
    other = tmp_path / f".a.{os.getpid()}-1.part"
    other.write_text("being written")
    write_text(tmp_path / "a", "new")
    assert other.read_text() == "being written"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tunesmith.files import write_binary, write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # stands for a disk that has room for one more page
try:
    if sys.argv[2] == "text":
        write_text(Path(sys.argv[1]), "x" * 100_000)
    else:
        with write_binary(Path(sys.argv[1])) as stream:
            stream.write(b"x" * 100_000)
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_a_full_disk_leaves_the_old_content_and_no_litter(tmp_path, kind):
    file = tmp_path / "a"
    file.write_text("old")
    process = subprocess.run([sys.executable, "-c", FULL_DISK, file, kind], capture_output=True, text=True)
    assert process.stdout.strip() == str(errno.EFBIG), process.stderr
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("a", "old")]


def test_a_full_device_is_an_error():
    with pytest.raises(OSError, match="No space left"):
        write_text(Path("/dev/full"), "text")


def test_a_folder_appears_complete_and_replaces_the_old_one(tmp_path):
    folder = tmp_path / "model"
    with write_folder(folder) as unfinished:
        (unfinished / "a").write_text("1")
        assert not folder.exists()
    with write_folder(folder) as unfinished:
        (unfinished / "b").write_text("2")
    with pytest.raises(ValueError, match="stop"), write_folder(folder):
        raise ValueError("stop")
    assert [item.name for item in folder.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_text("1")
    rename = Path.rename

    def rename_old_only(path, target):
        if path != folder and target == folder and (path / "b").exists():
            raise OSError("I/O error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_old_only)
    with pytest.raises(OSError, match="I/O error"), write_folder(folder) as unfinished:
        (unfinished / "b").write_text("2")
    assert [item.name for item in folder.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [folder]


HOLD = """
import os, sys, time
from pathlib import Path
from tunesmith.files import hold_lock
with hold_lock(Path(sys.argv[1])):
    is_forked = len(sys.argv) > 2 and os.fork() == 0  # a worker that outlives its parent
    if is_forked or len(sys.argv) == 2:
        print("held", flush=True)
    time.sleep(20 if is_forked else 60)
"""


def test_a_lock_keeps_others_out(tmp_path):
    holder = run_until("held", HOLD, tmp_path / "lock")
    with pytest.raises(RunError, match="another process"), hold_lock(tmp_path / "lock", "another process writes it"):
        pass
    kill(holder)


@pytest.mark.parametrize("arguments", [[], ["fork"]])
def test_the_lock_of_a_dead_process_does_not_block(tmp_path, arguments):
    kill(run_until("held", HOLD, tmp_path / "lock", *arguments))
    with hold_lock(tmp_path / "lock", "the dead process, or its worker, has the lock"):
        pass


def test_hashes(tmp_path):
    (tmp_path / "a").write_text("text")
    assert hash_file(tmp_path / "a").hex() == hash_text("text")
    assert hash_text("text").startswith("982d9e3eb996f559")
    assert len(hash_file(tmp_path / "a", "blake2b")) == 64
