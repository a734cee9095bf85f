"""What a bare machine lacks comes along as wheels: packed here, installed there, no network."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

# What keras_lodin imports, module by distribution, without a backend of Keras, NumPy and SciPy,
# which come with one. What is packed is only used where a module cannot be imported.
NEEDED = {
    "absl": "absl-py",
    "click": "click",
    "contourpy": "contourpy",
    "cycler": "cycler",
    "dateutil": "python-dateutil",
    "fontTools": "fonttools",
    "h5py": "h5py",
    "jinja2": "jinja2",
    "joblib": "joblib",
    "keras": "keras",
    "kiwisolver": "kiwisolver",
    "markdown_it": "markdown-it-py",
    "markupsafe": "markupsafe",
    "matplotlib": "matplotlib",
    "mdurl": "mdurl",
    "ml_dtypes": "ml-dtypes",
    "namex": "namex",
    "narwhals": "narwhals",
    "optree": "optree",
    "packaging": "packaging",
    "PIL": "pillow",
    "pygments": "pygments",
    "pyparsing": "pyparsing",
    "rich": "rich",
    "six": "six",
    "sklearn": "scikit-learn",
    "threadpoolctl": "threadpoolctl",
    "typing_extensions": "typing-extensions",
}
# pip takes no newer glibc for an older one.
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 24, 17)] + [
    "manylinux2014_x86_64",
    "manylinux1_x86_64",
]


def pack(folder: Path, python: str) -> None:
    """Downloads the wheels for a version of Python on Linux, x86-64.

    Args:
        folder: for the wheels; those of another time are removed.
        python: the version, "3.12".
    """
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in _PLATFORMS:
        command += ["--platform", platform]
    subprocess.run([*command, "--dest", str(folder), *NEEDED.values()], check=True)


def install_missing(wheels: Path, site: Path) -> list[str]:
    """Installs from the wheels what cannot be imported, into a folder for PYTHONPATH.

    Args:
        wheels: what `pack` wrote.
        site: the folder to install into; what an earlier run installed there counts.

    Returns:
        the distributions that were installed now.

    Raises:
        SystemExit: for what is neither there nor among the wheels.
    """
    if str(site) not in sys.path:
        sys.path.insert(0, str(site))
    missing = [name for module, name in NEEDED.items() if not _found(module)]
    if not missing:
        return []
    if not wheels.is_dir():
        raise SystemExit(
            f"This Python lacks {', '.join(missing)}. Run `python benchmarks/gpu_check.py pack` "
            f"where there is a network, and take {wheels} along. Received: no such folder"
        )
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    command += ["--no-compile", "--find-links", str(wheels), "--target", str(site), *missing]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(
            f"{', '.join(missing)} could not be installed from {wheels}; pip says why above. "
            "`python benchmarks/gpu_check.py pack --python VERSION` packs for another Python."
        )
    importlib.invalidate_caches()
    return missing


def describe_checkout(root: Path, site: Path) -> None:
    """Writes the metadata that the package reads its version from, as nobody installed it.

    Args:
        root: of the checkout.
        site: a folder for PYTHONPATH.
    """
    import tomllib

    with open(root / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n"
    (folder / "METADATA").write_text(text, encoding="utf-8")


def _found(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
