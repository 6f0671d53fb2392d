"""Files that are replaced as a whole: whoever reads one, at any moment and after any crash, finds the old or the new one.

The new file is written beside the old, reaches the disk, and takes its name. A process that is killed in between leaves the
unfinished one. Whoever writes holds a lock on it, which ends with the process: one whose lock is free is nobody's, and is
removed by the next who writes in that folder.
"""

import contextlib
import os
import stat

_PREFIX, _SUFFIX = ".chainrule-", ".tmp"


def replace(path, parts):
    """Put a file made of `parts` at `path`, so that at every moment the old or the new one is there."""
    path = os.path.realpath(path)  # through a link, to the file it names
    folder = os.path.dirname(path)
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = os.stat(path).st_mode
    if mode is not None and not stat.S_ISREG(mode):
        raise OSError(f"save: {path} is not a file that can be replaced; open it and pass the open file")
    _remove_leftovers(folder)
    file, temporary = _temporary(folder)
    try:
        with file:
            for part in parts:
                file.write(part)
            file.flush()
            if mode is not None:
                os.chmod(temporary, stat.S_IMODE(mode))
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # the new name must reach the disk too
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _temporary(folder):
    """(open file, its path): a new file in `folder` that this process has locked."""
    while True:
        path = os.path.join(folder, f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}")
        file = open(path, "xb")  # noqa: SIM115 - the caller closes it
        # Another process may have taken the file for a leftover before it was locked: then it is gone, or locked by that one.
        if _lock(file) is not False and os.path.exists(path):
            return file, path
        file.close()


def _remove_leftovers(folder):
    """Remove the temporary files of processes that are no more."""
    with os.scandir(folder) as entries:
        paths = [one.path for one in entries if one.name.startswith(_PREFIX) and one.name.endswith(_SUFFIX)]
    for path in paths:
        with contextlib.suppress(OSError), open(path, "r+b") as file:
            if _lock(file):  # not None: it may be in use
                os.unlink(path)


def _lock(file):
    """Lock an open file: True, or False if another process has locked it, or None if this file system has no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True
