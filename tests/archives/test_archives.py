# SPDX-License-Identifier: Apache-2.0
"""What others install, sdist and wheel: what is in them, and that all works without the checkout.

`make test-wheel` builds both, puts each into an empty environment and lets the wheel pass the whole
suite, from the unpacked sdist without its package, so that the wheel's is the only one to import.
Everything lies in build/wheel-test, two and a half gigabytes with torch; `make clean` removes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "wheel-test"
# Most of it is the suite; fixtures build and install, which pytest counts to the test that asks.
pytestmark = [pytest.mark.wheel, pytest.mark.timeout(3600, method="signal")]

# In the repository and of no use outside it, as pyproject.toml tells the sdist.
NOT_IN_SDIST = (".ci/", ".github/")
# These judge the sources of a checkout, which a wheel is not.
ABOUT_THE_CHECKOUT = ("tests/test_architecture.py", "tests/test_codebase.py")


@dataclass(frozen=True)
class Archives:
    """The two files, and the names of what is in them."""

    sdist: Path
    wheel: Path

    def sdist_files(self) -> dict[str, bytes]:
        """Read the sdist; names are relative to its one folder."""
        with tarfile.open(self.sdist) as archive:
            members = [member for member in archive if member.isfile()]
            streams = [(member.name, archive.extractfile(member)) for member in members]
            return {
                name.partition("/")[2]: stream.read()
                for name, stream in streams
                if stream is not None
            }

    def wheel_files(self) -> dict[str, bytes]:
        with zipfile.ZipFile(self.wheel) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


@dataclass(frozen=True)
class Environment:
    """A virtual environment that knows nothing of the checkout."""

    folder: Path

    def run(self, program: str, *arguments: str | Path, cwd: Path = FOLDER) -> None:
        """Run one of its programs to its end; what it prints is shown as it comes."""
        run(self.folder / "bin" / program, *arguments, cwd=cwd, first_on_path=self.folder / "bin")

    def install(self, *requirements: str) -> None:
        options = ("--quiet", "--no-compile", "--constraint", ROOT / "constraints.txt")
        self.run("pip", "install", *options, *requirements)

    def package_folder(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages/fl_deepcabac")
        return found


def run(*command: str | Path, cwd: Path, first_on_path: Path | None = None) -> None:
    """Run a command; with a folder to look in first, as if this environment were not there."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "PYTHON", "VIRTUAL_ENV"))
    }
    if first_on_path is not None:
        others = os.environ.get("PATH", "").split(os.pathsep)
        others = [folder for folder in others if not Path(folder).is_relative_to(sys.prefix)]
        environment["PATH"] = os.pathsep.join([str(first_on_path), *others])
    subprocess.run([str(part) for part in command], check=True, cwd=cwd, env=environment)


def is_extension(name: str) -> bool:
    return name.startswith("fl_deepcabac/_native.") and name.endswith(".so")


def empty_environment(name: str) -> Environment:
    run(sys.executable, "-m", "venv", FOLDER / name, cwd=FOLDER)
    return Environment(FOLDER / name)


@pytest.fixture(scope="module")
def archives() -> Archives:
    """Build both from the checkout."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    # pip builds no sdists: this is what `python -m build --sdist` would call.
    hook = f"from scikit_build_core.build import build_sdist; build_sdist({str(FOLDER)!r})"
    run(sys.executable, "-c", hook, cwd=ROOT)
    # A folder of its own for cmake: that of `make test` remembers where its pybind11 is.
    cmake = f"--config-settings=build-dir={FOLDER / 'cmake'}"
    options = ("--quiet", "--no-deps", "--wheel-dir", FOLDER, cmake)
    run(sys.executable, "-m", "pip", "wheel", *options, ".", cwd=ROOT)
    (sdist,), (wheel,) = FOLDER.glob("*.tar.gz"), FOLDER.glob("*.whl")
    for path in (sdist, wheel):
        sys.stdout.write(f"{path.name}: {path.stat().st_size / 1000:.0f} kB\n")
    return Archives(sdist, wheel)


@pytest.fixture(scope="module")
def of_wheel(archives: Archives) -> Environment:
    """Hold the wheel with all that the suite uses."""
    environment = empty_environment("of-wheel")
    environment.install(f"{archives.wheel}[experiments,dev]")
    return environment


@pytest.fixture(scope="module")
def of_sdist(archives: Archives) -> Environment:
    """Hold what pip makes of the sdist, and what that requires."""
    environment = empty_environment("of-sdist")
    environment.install(str(archives.sdist))
    return environment


def test_sdist_holds_what_git_holds(archives: Archives) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout to compare with")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], check=True, capture_output=True, text=True, cwd=ROOT
    )
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    expected = {name for name in tracked if not name.startswith(NOT_IN_SDIST)} | {"PKG-INFO"}
    found = set(archives.sdist_files())
    assert (sorted(found - expected), sorted(expected - found)) == ([], [])


def test_wheel_holds_the_package_and_nothing_else(archives: Archives) -> None:
    package = {name for name in archives.sdist_files() if name.startswith("fl_deepcabac/")}
    assert {"fl_deepcabac/py.typed", "fl_deepcabac/_native.pyi"} <= package
    about = "fl_deepcabac-{}.dist-info/".format(archives.wheel.name.split("-")[1])
    about_files = ("METADATA", "RECORD", "WHEEL", "entry_points.txt")
    licenses = ("licenses/LICENSE", "licenses/native/python/LICENSE.pybind11")
    expected = package | {about + name for name in (*about_files, *licenses)}
    surplus = set(archives.wheel_files()) - expected
    assert expected <= set(archives.wheel_files())
    assert [name for name in surplus if not is_extension(name)] == []
    assert len(surplus) == 1


def test_archives_name_no_folder_of_this_machine(archives: Archives) -> None:
    files = {**archives.sdist_files(), **archives.wheel_files()}
    named = [name for name, data in files.items() if os.fsencode(ROOT) in data]
    # The extension is built by pip's own tools, which lie in a temporary folder.
    temporary = os.fsencode(tempfile.gettempdir()) + b"/"
    named += [name for name, data in files.items() if is_extension(name) and temporary in data]
    assert named == []


def test_sdist_installs_what_is_in_the_wheel(archives: Archives, of_sdist: Environment) -> None:
    folder = of_sdist.package_folder()
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    installed = {path.relative_to(folder.parent).as_posix() for path in paths}
    assert installed == {name for name in archives.wheel_files() if ".dist-info/" not in name}


def test_commands_of_both_write_and_read_the_same_file(
    of_wheel: Environment, of_sdist: Environment
) -> None:
    weight = np.random.default_rng(1).normal(0, 0.01, (128, 784)).astype(np.float32)
    np.savez(FOLDER / "update.npz", weight=weight, count=np.arange(3))
    of_sdist.run("fl-deepcabac", "--help")
    for environment, packed in ((of_sdist, "sdist.dcbc"), (of_wheel, "wheel.dcbc")):
        environment.run("fl-deepcabac", "compress", "update.npz", packed, "--step", "0.004")
    assert (FOLDER / "sdist.dcbc").read_bytes() == (FOLDER / "wheel.dcbc").read_bytes()
    assert (FOLDER / "sdist.dcbc").stat().st_size < weight.nbytes / 8
    of_sdist.run("fl-deepcabac", "decompress", "sdist.dcbc", "restored.npz")
    with np.load(FOLDER / "restored.npz") as restored:
        assert np.sqrt(np.mean((restored["weight"] - weight) ** 2)) < 0.004
        assert restored["count"].tolist() == [0, 1, 2]


def test_wheel_passes_the_suite_without_the_checkout(
    archives: Archives, of_wheel: Environment
) -> None:
    shutil.unpack_archive(archives.sdist, FOLDER)
    suite = archives.sdist.with_suffix("").with_suffix("")
    shutil.rmtree(suite / "fl_deepcabac")
    where = f"""
import fl_deepcabac, pathlib
found = pathlib.Path(fl_deepcabac.__file__).parent
assert found == pathlib.Path({str(of_wheel.package_folder())!r}), found
"""
    of_wheel.run("python", "-c", where, cwd=suite)
    ignored = [f"--ignore={path}" for path in ABOUT_THE_CHECKOUT]
    jobs = ("-n", os.environ.get("JOBS", "2"))
    # The package by its name: its doctests are the installed ones.
    of_wheel.run("pytest", *jobs, *ignored, "--pyargs", "tests", "fl_deepcabac", cwd=suite)
