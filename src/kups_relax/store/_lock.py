"""A lock that keeps a second run away from a store as long as the first one's process lives."""

import contextlib
import errno
import os
import stat
from pathlib import Path

from kups_relax._log import log
from kups_relax.errors import StoreError

# First word of a lock. A file of that name which begins otherwise is somebody's own.
_OURS = b"process "


class Lock:
    """Lock the file `.NAME.lock` beside a store, which is removed when it is released.

    Args:
        path: Of the store.

    Raises:
        StoreError: Another run holds it, or a file of that name is no lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f".{path.name}.lock")
        self._file: int | None = None
        try:
            import fcntl
        except ImportError:  # there are no such locks on Windows
            return
        file = self._opened(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last owner may just have removed it.
            if os.fstat(file).st_ino != self._inode():
                raise BlockingIOError
        except BlockingIOError:
            owner = os.read(file, 200).decode(errors="replace")
            os.close(file)
            raise StoreError(
                f"{str(path)!r} is being written by another run ({owner or 'unknown'}). Wait for "
                "it, stop it, or choose another name."
            ) from None
        except OSError as error:  # some network file systems know no locks
            log.warning("%s cannot be locked: %s", path, error)
            os.close(file)
            self._path.unlink()
            return
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {os.uname().nodename}".encode())
        self._file = file

    def _opened(self, path: Path) -> int:
        """Open the file, if it is new or a lock that a killed run left."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        file = None
        try:
            file = os.open(self._path, flags, 0o644)
            found = os.fstat(file)
            plain = stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size < 1000
            if plain and os.pread(file, len(_OURS), 0) in (b"", _OURS):
                return file
        except OSError as error:
            # A link, a folder, a socket.
            if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EMLINK):
                raise StoreError(f"{str(path)!r} cannot be written: {error}.") from error
        if file is not None:
            os.close(file)
        raise StoreError(
            f"{str(path)!r} cannot be written: its lock would be {str(self._path)!r}, which is "
            "another file or a link. Remove it if it is not needed, or choose another name for the "
            "output."
        )

    def _inode(self) -> int | None:
        try:
            return self._path.lstat().st_ino
        except FileNotFoundError:
            return None

    def release(self) -> None:
        """Let others write."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._file)
            self._file = None
