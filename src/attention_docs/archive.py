"""Pack a built site: `python -m attention_docs.archive SITE ZIP`. Equal sites, equal archives."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

STAMP = (1980, 1, 1, 0, 0, 0)


def main(site: Path, archive: Path) -> None:
    """Write every file of `site` into `archive`, below a folder of the archive's own name."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(
        path.relative_to(site).as_posix()
        for path in site.rglob("*")
        if path.is_file() and path != archive
    )
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            member = zipfile.ZipInfo(f"{archive.stem}/{name}", STAMP)
            member.external_attr = 0o644 << 16
            packed.writestr(member, (site / name).read_bytes(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
