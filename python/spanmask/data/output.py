"""Output that is whole or not there: files that appear under their names when they are complete, folders with a lock."""

from __future__ import annotations

import glob
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spanmask.data.files import MANIFEST
from spanmask.errors import DataError

__all__ = ["Folder", "replaced"]

HOST = re.sub(r"[^\w.]", "_", platform.node())  # names of temporary files say whose they are: a folder may be shared by machines


@contextmanager
def replaced(path: Path, *, in_folder: bool = False) -> Iterator[Path]:
    """A name to write to; the file appears as `path` when all is written and on the disk, or not at all.

    `in_folder`: the file is one of a `Folder`, which has removed what killed processes left.

    Raises:
        DataError: the disk is full, or the place cannot be written to.
    """
    if not in_folder:
        remove_remains(path)
    temporary = path.with_name(f".{path.name}.{HOST}-{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or choose another place."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def remove_remains(path: Path) -> None:
    """Remove what processes of this machine that were killed wrote for a file."""
    if os.name != "posix":  # elsewhere one cannot ask after a process without ending it
        return
    with suppress(OSError):
        for file in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(HOST)}-*.tmp"):
            number = file.name.removesuffix(".tmp").rpartition("-")[2]
            if number.isdecimal() and not is_running(int(number)):
                file.unlink()


def is_running(process: int) -> bool:
    """Whether a process exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def flush_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def has_its_name(lock: Any, file: Path) -> bool:
    """Whether what is locked is still the file of this name. The process before removes it, and the next makes another."""
    descriptor = lock._context.lock_file_fd
    if descriptor is None:  # a file system without locks
        return True
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


class Folder:
    """A folder of output files, one for each part of the input, and a manifest that says what they are.

    Args:
        path: the folder; it is made if it does not exist.
        manifest: everything that the bytes of the files depend on, as JSON.
        resume: go on with a folder of the same manifest.
        overwrite: remove what another run has written.

    Raises:
        DataError: the folder holds other files; its manifest is another one; or another process writes to it.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any], *, resume: bool = False, overwrite: bool = False) -> None:
        self.path = path
        self._manifest = json.loads(json.dumps(manifest))
        self._resume, self._overwrite = resume, overwrite

    @contextmanager
    def open(self) -> Iterator[Folder]:
        """Lock the folder and check what is in it. The lock ends with the process, however that ends."""
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be made ({error.strerror}).") from error
        file = self.path / ".lock"
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
            while not has_its_name(lock, file):
                lock.release()
                lock.acquire(timeout=0)
        except Timeout:
            raise DataError(f"{self.path}: another process writes to this folder; wait for it, or choose another one.") from None
        try:
            self._check()
            yield self
        finally:
            if os.name == "posix":  # while it is locked: afterwards it may be another process's
                with suppress(OSError):
                    file.unlink()
            lock.release()
            if os.name != "posix":  # where a file that is open cannot be removed
                with suppress(OSError):
                    file.unlink()

    def _check(self) -> None:
        known = self.path / MANIFEST
        files = [file for file in self.path.iterdir() if file.name != ".lock"]
        for file in files:
            if file.name.startswith(".") and file.name.endswith(".tmp"):
                file.unlink()  # of a run that was killed
        files = [file for file in files if file.exists()]
        if not files:
            pass
        elif not known.exists():
            raise DataError(f"{self.path}: holds files that this command did not write; choose another folder.")
        elif self._overwrite:
            for file in files:
                if file.match("part-*.parquet") or file.match(".bad-*.jsonl"):
                    file.unlink()
        elif not self._resume:
            raise DataError(f"{self.path}: exists; pass --resume to go on with it, or --overwrite to write it again.")
        elif (old := self._read(known)) != self._manifest:
            differ = sorted(name for name in {*old, *self._manifest} if old.get(name) != self._manifest.get(name))
            raise DataError(
                f"{self.path}: was written with other values of {' and '.join(differ)}; pass the same options and inputs, or --overwrite."
            )
        with replaced(known, in_folder=True) as file:
            file.write_text(json.dumps(self._manifest, indent=1))

    def _read(self, manifest: Path) -> dict[str, Any]:
        try:
            old = json.loads(manifest.read_text())
        except ValueError:
            old = None
        if not isinstance(old, dict):
            raise DataError(f"{manifest}: is not a manifest of this command; pass --overwrite, or choose another folder.")
        return old

    def part(self, number: int) -> Path:
        """The file of part `number`."""
        return self.path / f"part-{number:05d}.parquet"

    def bad_rows(self, number: int) -> Path:
        """The file of the rows of part `number` that could not be used. Readers of whole folders pass over its name."""
        return self.path / f".bad-{number:05d}.jsonl"
