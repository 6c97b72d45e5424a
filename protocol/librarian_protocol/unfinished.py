"""The names under which tools keep what is not finished, and what editors and file managers leave lying about.

A table, with its sources; docs/temporary-names.md is written from it. Globs are over one component of a path.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase, translate

import msgspec


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Names of one tool."""

    glob: str
    tool: str
    #: What stands under such a name.
    what: str
    source: str
    #: A book that holds such a name is not finished. Else it is only never a file that anybody wants ingested.
    unfinished: bool = True


_RSYNC = "https://download.samba.org/pub/rsync/rsync.1"
_SIX = "[0-9A-Za-z]" * 6
_APPLE = "https://www.rfc-editor.org/rfc/rfc1740"

MARKS: tuple[Mark, ...] = (
    Mark(glob=f".?*.{_SIX}", tool="rsync", what="a file that is being received", source=_RSYNC),
    Mark(glob=".~tmp~", tool="rsync --delay-updates", what="files that wait for the others", source=_RSYNC),
    Mark(glob=".rsync-partial", tool="rsync --partial-dir", what="what a stopped run received", source=_RSYNC),
    Mark(
        glob="*.partial",
        tool="rclone",
        what="a file that is being received",
        source="https://rclone.org/docs/#partial-suffix-string",
    ),
    Mark(
        glob="*.filepart",
        tool="WinSCP",
        what="a file that is being received",
        source="https://winscp.net/eng/docs/resume",
    ),
    Mark(
        glob=".in.*",
        tool="lftp, ncftp, ProFTPD",
        what="a file that is being received",
        source="https://lftp.yar.ru/lftp-man.html",
    ),
    Mark(
        glob=".pureftpd-upload.*",
        tool="Pure-FTPd",
        what="a file that is being received",
        source="https://github.com/jedisct1/pure-ftpd/blob/master/README",
    ),
    Mark(
        glob=".syncthing.*.tmp",
        tool="Syncthing",
        what="a file that is being received",
        source="https://docs.syncthing.net/users/faq.html",
    ),
    Mark(
        glob="~syncthing~*.tmp",
        tool="Syncthing on Windows",
        what="a file that is being received",
        source="https://docs.syncthing.net/users/faq.html",
    ),
    Mark(
        glob="*.part",
        tool="Firefox, KDE, Nextcloud, yt-dlp",
        what="a file that is being received",
        source="https://support.mozilla.org/en-US/kb/where-find-and-manage-downloaded-files-firefox",
    ),
    Mark(
        glob="*.crdownload",
        tool="Chrome, Edge",
        what="a file that is being received",
        source="https://support.google.com/chrome/answer/95759",
    ),
    Mark(
        glob="*.aria2",
        tool="aria2",
        what="says that the file beside it is not finished",
        source="https://aria2.github.io/manual/en/html/aria2c.html#control-file",
    ),
    Mark(
        glob="*.tmp",
        tool="many",
        what="a temporary file",
        source="https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-gettempfilenamew",
    ),
    Mark(
        glob=".goutputstream-*",
        tool="GNOME (GIO)",
        what="a file that is being saved",
        source="https://gitlab.gnome.org/GNOME/glib/-/blob/main/gio/glocalfileoutputstream.c",
    ),
    Mark(
        glob=".*.sw[a-p]",
        tool="vim",
        what="says that the file beside it is being edited",
        source="https://vimhelp.org/recover.txt.html#swap-file",
    ),
    Mark(
        glob=".#*",
        tool="Emacs",
        what="says that the file beside it is being edited",
        source="https://www.gnu.org/software/emacs/manual/html_node/emacs/Interlocking.html",
    ),
    Mark(
        glob="#*#",
        tool="Emacs",
        what="edits that are not saved yet",
        source="https://www.gnu.org/software/emacs/manual/html_node/emacs/Auto-Save-Files.html",
    ),
    Mark(
        glob=".~lock.*#",
        tool="LibreOffice",
        what="says that the file beside it is being edited",
        source="https://wiki.documentfoundation.org/Libreoffice_and_subversion",
    ),
    Mark(
        glob=".nfs[0-9a-f]*",
        tool="NFS clients",
        what="a removed file that somebody still has open",
        source="https://nfs.sourceforge.net/#faq_d2",
    ),
    Mark(
        glob=".fuse_hidden*",
        tool="FUSE",
        what="a removed file that somebody still has open",
        source="https://libfuse.github.io/doxygen/structfuse__config.html",
    ),
    Mark(
        glob=".*",
        tool="all",
        what="a hidden file",
        source="https://www.gnu.org/software/coreutils/manual/html_node/Which-files-are-listed.html",
        unfinished=False,
    ),
    Mark(
        glob=".DS_Store",
        tool="macOS Finder",
        what="how a window looks",
        source="https://en.wikipedia.org/wiki/.DS_Store",
        unfinished=False,
    ),
    Mark(
        glob="._*",
        tool="macOS",
        what="attributes of the file beside it (AppleDouble)",
        source=_APPLE,
        unfinished=False,
    ),
    Mark(
        glob="?*~",
        tool="editors",
        what="the former text of a file",
        source="https://www.gnu.org/software/emacs/manual/html_node/emacs/Backup-Names.html",
        unfinished=False,
    ),
    Mark(
        glob="Thumbs.db",
        tool="Windows",
        what="small pictures of what is in a folder",
        source="https://learn.microsoft.com/windows/win32/shell/thumbnail-providers",
        unfinished=False,
    ),
    Mark(
        glob="desktop.ini",
        tool="Windows",
        what="how a folder looks",
        source="https://learn.microsoft.com/windows/win32/shell/how-to-customize-folders-with-desktop-ini",
        unfinished=False,
    ),
    Mark(
        glob="lost+found",
        tool="mkfs",
        what="what fsck found; it stands at the top of a filesystem",
        source="https://man7.org/linux/man-pages/man8/mklost+found.8.html",
        unfinished=False,
    ),
)

#: What a drop directory passes over unless ``ignore`` says otherwise. Hidden names are one glob, for they are many.
IGNORED: tuple[str, ...] = tuple(mark.glob for mark in MARKS if mark.glob == ".*" or not mark.glob.startswith("."))

_UNFINISHED = tuple(mark for mark in MARKS if mark.unfinished)
#: A book may have a million members: one look for all globs, in place of one for each.
_ANY = re.compile("|".join(translate(mark.glob) for mark in _UNFINISHED))
_TEMPORARY = re.compile(r"\.(.+)\.[0-9A-Za-z]{6}", re.DOTALL)


def unfinished(name: str) -> Mark | None:
    """What a member of this name says of its book being unfinished; None where it says nothing."""
    if _ANY.match(name) is None:
        return None
    return next(mark for mark in _UNFINISHED if fnmatchcase(name, mark.glob))


def is_rsyncs(before: str, after: str) -> bool:
    """Whether a file got its name from rsync.

    rsync receives into ``.NAME.XXXXXX`` and renames that to NAME when it is finished; with ``--partial`` (``-P``) also
    when it is stopped (rsync's ``cleanup.c``). Both are paths below one directory.
    """
    above, _, name = before.rpartition("/")
    found = _TEMPORARY.fullmatch(name)
    return found is not None and after == (f"{above}/{found[1]}" if above else found[1])
