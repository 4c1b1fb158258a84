"""The downloaded wheels that build_demo_data.py reads: their members as text, and their licences. Standard library only."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

PACKAGES = ("aaanalysis-1.1.0", "modlamp-4.3.3", "mhcnuggets-2.4.1", "tcrdist3-0.3")


class Wheels:
    """The members of the downloaded wheels, as text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, package: str) -> Path:
        found = sorted(self.folder.glob(f"{package}-*.whl"))
        if not found:
            sys.exit(f"no wheel {package}-*.whl in {self.folder}; see --help for the download command")
        return found[0]

    def read(self, package: str, member: str) -> str:
        with zipfile.ZipFile(self.path(package)) as archive:
            return archive.read(member).decode("utf-8-sig")

    def members(self, package: str) -> list[str]:
        with zipfile.ZipFile(self.path(package)) as archive:
            return sorted(archive.namelist())


def write_licences(wheels: Wheels, folder: Path) -> None:
    """The licence text of each source package, as its wheel carries it."""
    (folder / "licences").mkdir(exist_ok=True)
    for package in PACKAGES:
        (member,) = (name for name in wheels.members(package) if name.endswith("/LICENSE"))
        text = wheels.read(package, member).replace("\r\n", "\n")
        (folder / "licences" / f"{package}.txt").write_text(text.rstrip("\n") + "\n", encoding="utf-8")
