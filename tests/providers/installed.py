"""Packages that register a provider, as pip would leave them in a folder of packages."""

from pathlib import Path


def install_package(folder: Path, package: str, modules: dict[str, str], **entry_points: str) -> None:
    """Write a package with its metadata into `folder`. modules: text by file name; entry_points: name and target."""
    for name, text in modules.items():
        path = folder / package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in entry_points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[moesort_tune.providers]", *lines, ""]))
