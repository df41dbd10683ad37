"""Build the package, look at what is in it, and use it where nothing else is.

Run in the environment of `pip install -e '.[dev]'`, from anywhere: python .ci/package.py
"""

import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "tests" / "package" / "user_program.py"
METADATA = {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE"}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What the command printed, or an end with all that it said."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}")
    return done.stdout


def check_contents(sdist: Path, wheel: Path) -> None:
    """The sdist holds files of the repository, all of src among them; the wheel src alone."""
    tracked = set(run("git", "ls-files").splitlines())
    source = {name for name in tracked if name.startswith("src/")}
    with tarfile.open(sdist) as archive:
        packed = {m.name.split("/", 1)[1] for m in archive.getmembers() if m.isfile()}
    with zipfile.ZipFile(wheel) as archive:
        installed = set(archive.namelist())
    top = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    expected = {name.removeprefix("src/") for name in source} | {f"{top}/{n}" for n in METADATA}
    for title, names in {
        "in the sdist, but not in the repository": packed - tracked - {"PKG-INFO"},
        "missing in the sdist": source - packed,
        "in the wheel, but not of the package": installed - expected,
        "missing in the wheel": expected - installed,
    }.items():
        if names:
            sys.exit(f"{title}: {', '.join(sorted(names))}")
    assert "photoz_losses/py.typed" in installed
    assert not any(name.endswith((".fits", ".h5", ".hdf5", ".npz", ".pt")) for name in packed)
    print(f"{sdist.name}: {len(packed)} files; {wheel.name}: {len(installed)} files")


def declared(wheel: Path) -> list[Distribution]:
    """What the wheel requires without extras, and what that requires in turn."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(name).decode().splitlines()
    texts = [line.split(": ", 1)[1] for line in lines if line.startswith("Requires-Dist: ")]
    waiting = [(Requirement(text), "") for text in texts]
    found: dict[tuple[str, str], Distribution] = {}
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in ("", *requirement.extras):
            key = (canonicalize_name(requirement.name), wanted)
            if key not in found:
                found[key] = distribution(requirement.name)
                waiting += [(Requirement(text), wanted) for text in found[key].requires or ()]
    return list(found.values())


def empty_environment(folder: Path, wheel: Path) -> Path:
    """Python with the wheel and what it declares, linked from here, and nothing else."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", asked).strip())
    for each in declared(wheel):
        for top in {file.parts[0] for file in each.files or () if file.parts[0] != ".."}:
            place = site / top
            if top != "__pycache__" and not place.exists():
                place.symlink_to(Path(str(each.locate_file(top))).resolve())
    return python


def main() -> None:
    """Build, look, install, run, and read the types of what was installed."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        run(sys.executable, "-m", "build", "--outdir", work / "dist", ROOT)
        (sdist,), (wheel,) = (work / "dist").glob("*.tar.gz"), (work / "dist").glob("*.whl")
        check_contents(sdist, wheel)

        python, outside = empty_environment(work / "empty", wheel), work / "outside"
        outside.mkdir()
        program = outside / PROGRAM.name
        program.write_text(PROGRAM.read_text())
        print(run(python, "-I", "-W", "error", program, cwd=outside).splitlines()[-1])
        run(python, "-I", "-m", "photoz_losses.report", "--help", cwd=outside)

        print(
            run(
                sys.executable,
                "-m",
                "mypy",
                "--strict",
                "--python-executable",
                python,
                program,
                cwd=outside,
            ),
            end="",
        )
        print(
            run(sys.executable, "-m", "pyright", "--pythonpath", python, program, cwd=outside),
            end="",
        )


if __name__ == "__main__":
    main()
