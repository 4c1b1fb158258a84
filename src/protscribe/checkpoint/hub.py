"""Bundles by name: those that ship with this package, and those on the Hugging Face Hub, which are downloaded and uploaded.
Only a bundle's own files travel.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from protscribe.checkpoint.folder import find_complete
from protscribe.checkpoint.manifest import KNOWN, MANIFEST, read_manifest
from protscribe.errors import CheckpointError, ConfigError, OutputError, Where, nearest

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
RELEASED = Path(__file__).resolve().parent.parent / "released"
"""Where the bundles lie that ship with this package, a folder each."""


def released_names() -> tuple[str, ...]:
    """The names of the bundles that ship with this package, sorted."""
    return tuple(sorted(path.parent.name for path in RELEASED.glob(f"*/{MANIFEST}")))


def find_bundle(name: str | Path, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """The folder of a bundle: a local one, one that ships with this package, or the Hub's ``org/name`` downloaded to the
    Hub's cache.

    A local folder comes first, and a name whose first part is one is a path. ``HF_HUB_OFFLINE`` is honoured. The folder is
    not looked into, and may not exist where ``name`` is a path. Raises
    :class:`~protscribe.errors.CheckpointError`: ``checkpoint.offline`` (not cached, and the Hub cannot or
    must not be asked; at once), ``checkpoint.not_found`` (the Hub has no such name or revision; a name without a slash is
    neither a folder nor that of a released bundle).
    """
    folder = find_complete(Path(name).expanduser())
    is_path = folder.exists() or isinstance(name, Path) or not HUB_NAME.fullmatch(name)
    if is_path or Path(str(name).split("/")[0]).is_dir():
        if revision is not None:
            raise ConfigError(
                "config.value", f"revision={revision!r} is for names on the Hub; {str(name)!r} is none"
            )
        if folder.exists() or isinstance(name, Path) or not PLAIN_NAME.fullmatch(name):
            return folder
        return _find_released(name)
    return _download(str(name), revision, local_files_only)


def _find_released(name: str) -> Path:
    if name not in released_names():
        raise CheckpointError(
            "checkpoint.not_found",
            f"there is no such bundle; nothing is made up in its place. {name!r} is no folder, and no released bundle has that "
            f"name; {nearest(name, released_names())}",
        )
    return RELEASED / name


def push_to_hub(
    folder: str | Path,
    name: str,
    *,
    private: bool = True,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Uploads a bundle to ``org/name`` on the Hub, making the repository where there is none, and returns its
    address.

    Parameters
    ----------
    private: whether the repository is closed to others; a public one that is there already is then refused.
    revision: a branch; message: of the commit. Whose account: ``hf auth login`` or ``HF_TOKEN``.

    Raises
    ------
    :class:`~protscribe.errors.CheckpointError` where the folder is no intact bundle; :class:`~protscribe.errors.OutputError`
    ``output.hub`` where the Hub does not take it.
    """
    from huggingface_hub import HfApi

    bundle = Path(folder).expanduser()
    read_manifest(bundle)
    hub: Any = HfApi()
    where = Where(file=str(bundle))
    try:
        address = str(hub.create_repo(name, private=private, exist_ok=True))
        if private and not hub.repo_info(name).private:
            raise OutputError(
                "output.hub", f"{name!r} is public on the Hub; say private=False to publish there", where
            )
        hub.upload_folder(
            repo_id=name,
            folder_path=bundle,
            allow_patterns=list(KNOWN),
            revision=revision,
            commit_message=message or "Upload a Protscribe bundle",
        )
    except OutputError:
        raise
    except (
        Exception
    ) as error:  # the Hub's client raises what its transport raises, which differs between versions
        raise OutputError("output.hub", f"the Hub did not take {name!r}: {error}", where) from error
    return address


def _download(name: str, revision: str | None, local_files_only: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f"{name!r}" + (f" at revision {revision!r}" if revision else "")
    try:
        found = snapshot_download(
            name, revision=revision, local_files_only=local_files_only, allow_patterns=list(KNOWN)
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        asked = (
            "only local files were allowed" if local_files_only else "the Hub cannot or must not be reached"
        )
        raise CheckpointError(
            "checkpoint.offline",
            f"there is no folder {name!r}, no cached copy of the Hub's {at}, and {asked}; download it on a machine "
            f"with network ('hf download {name}') and give its folder, or copy the cache (HF_HOME)",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        gated = isinstance(error, GatedRepoError)
        reason = (
            "it is gated: accept its terms and log in" if gated else "no such thing, or it is private: log in"
        )
        raise CheckpointError(
            "checkpoint.not_found", f"there is no folder {name!r}, and the Hub does not give {at} ({reason})"
        ) from error
    except Exception as error:  # what the transport raises differs between versions of the Hub's client
        raise CheckpointError("checkpoint.offline", f"the Hub failed to give {at}: {error}") from error
    return Path(found)
