"""Which small changes of the code do the tests not notice?

    python benchmarks/mutants.py                # all modules: an hour of one core
    python benchmarks/mutants.py losses/cde.py  # one of them; the results of the others stay
    python benchmarks/mutants.py --survivors    # those of the last run only, after new tests
    python benchmarks/mutants.py --explain      # nothing is run: reads mutants.toml again

mutmut writes every function of `MODULES` again and again, each time with one change: ``+`` for
``-``, ``<=`` for ``<``, an argument left out or None, another number, another name. A change is
killed if a test fails with it. Not changed are annotations, properties, constants of a module and
the text of errors (`WORDS`).

Tests are collected once. Each mutant gets a fork of that process, which runs the tests that call
the changed function, those that killed the last ones first, until one fails. So what a test file
makes when it is imported, grids for one, is made by the unchanged code; properties are tried with
`EXAMPLES` examples; and a mutant that outlives `PATIENCE` lives. All three make a kill harder.

Why a survivor survives is written by hand in ``mutants.toml``, which a new run reads: what is not
in there is counted as unexplained.
"""

import argparse
import ast
import contextlib
import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import measure
import pytest
from hypothesis import Phase, settings
from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "src/photoz_losses"
ERRORS = ["tests/errors/test_errors.py", "tests/errors/test_legal.py"]
IN_COMMON = "tests/losses/test_scores_in_common.py"
MODULES = {  # and patterns of the tests that are to kill their mutants
    "bins.py": [
        "tests/test_bins.py",
        "tests/test_best.py",
        "tests/test_repr.py",
        "tests/losses/test_crps.py",
        IN_COMMON,
        "tests/metrics/test_pit.py",
        *ERRORS,
    ],
    "losses/flux.py": ["tests/losses/test_flux.py", "tests/test_repr.py", *ERRORS],
    "losses/cde.py": ["tests/losses/test_cde.py", IN_COMMON, *ERRORS],
    "losses/crps.py": ["tests/losses/test_crps.py", IN_COMMON, *ERRORS],
    "metrics/pit.py": [
        "tests/metrics/test_pit.py",
        "tests/metrics/test_intervals.py",
        "tests/metrics/test_uniformity.py",
        *ERRORS,
    ],
    "photometry/residual.py": [
        "tests/photometry/test_residual.py",
        "tests/photometry/test_variance.py",
        "tests/losses/test_flux.py",
        "tests/photometry/test_table.py",
        *ERRORS,
    ],
}
LEAVE_OUT = "not compil and not export"  # slow
EXAMPLES = 12
PATIENCE = 2.5  # seconds of CPU after which no further test is begun on a mutant
WORDS = [r'^\s*f?"', r"^\s*raise \w+\("]  # lines that say what is wrong
SURVIVED, KILLED, UNCALLED, CRASHED = 0, 1, 2, 3
CHANGE = ("module", "function", "removed", "added")
UNEXPLAINED = "unexplained"
LEAST = 0.9  # share of a module's mutants that must be killed


@dataclass(frozen=True)
class Mutant:
    """One change of one function."""

    name: str  # as mutmut knows it
    module: str
    function: str
    line: int
    removed: str
    added: str

    def change(self) -> dict[str, str]:
        """What it is, wherever its line moves to."""
        return {key: getattr(self, key) for key in CHANGE}

    def key(self) -> tuple[str, ...]:
        return tuple(self.change().values())


# Making them --------------------------------------------------------------------------------------


def functions(source: str) -> dict[str, tuple[int, list[str]]]:
    """First line and lines of every function; those of methods by ``Class.method``."""
    lines = source.splitlines()
    found = {}
    for node in ast.parse(source).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for part in inner:
            if isinstance(part, ast.FunctionDef):
                found[prefix + part.name] = part.lineno, lines[part.lineno - 1 : part.end_lineno]
    return found


def mutate(module: str, folder: Path) -> list[Mutant]:
    """Write all mutants of `module` into the copy of the package in `folder`."""
    path = f"{PACKAGE}/{module}"
    source = (ROOT / path).read_text()
    made = mutate_file_contents(path, source, None, None)
    (folder / path).write_text(made.code)
    written, original = functions(made.code), functions(source)
    by_name = {name.rpartition(".")[2]: lines for name, (_, lines) in written.items()}
    dotted = path.removeprefix("src/").removesuffix(".py").replace("/", ".")
    mutants = []
    for name in made.mutant_names:
        mangled = name.partition("__mutmut_")[0]
        function = mangled.removeprefix("xǁ").replace("ǁ", ".").removeprefix("x_")
        changed = [line.replace(name, f"{mangled}__mutmut_orig") for line in by_name[name]]
        at, removed, added = difference(by_name[f"{mangled}__mutmut_orig"], changed)
        line = original[function][0] + at
        mutants.append(Mutant(f"{dotted}.{name}", module, function, line, removed, added))
    return mutants


def difference(before: list[str], after: list[str]) -> tuple[int, str, str]:
    """Place of the lines that differ, the old ones and the new ones."""
    first = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    shared = zip(reversed(before[first:]), reversed(after[first:]), strict=False)
    same = next((i for i, (a, b) in enumerate(shared) if a != b), 0)
    removed, added = (
        "\n".join(line.strip() for line in lines[first : len(lines) - same])
        for lines in (before, after)
    )
    return first, removed, added


# Killing them -------------------------------------------------------------------------------------


def start(work: Callable[[], int], cpu_seconds: float) -> int:
    """Begin `work` in a fork of this process, which ends with what it returns."""
    pid = os.fork()
    if pid == 0:
        limit = int(cpu_seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        code = CRASHED  # by an exception that pytest itself does not survive
        try:
            code = work()
        finally:
            os._exit(code)
    return pid


class Run:
    """Plugin of pytest that, in place of the one run of all tests, makes one for each mutant."""

    def __init__(
        self,
        mutants: list[Mutant],
        at_once: int,
        done: Callable[[str, dict[Mutant, int]], None],
    ) -> None:
        self.mutants, self.at_once, self.done = mutants, at_once, done
        self.calls: dict[str, list[str]] = {}
        self.seconds: dict[str, float] = {}
        self.kills: dict[str, float] = defaultdict(float)  # by test, late ones first

    def pytest_configure(self) -> None:
        settings.register_profile(
            "mutants",
            parent=settings(),  # the one of conftest.py
            max_examples=EXAMPLES,
            phases=[Phase.explicit, Phase.generate],  # what fails need not be small
            database=None,
        )
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Failed("a test file cannot be read")
        watcher = start(lambda: self.watch(session, Path("calls.json")), 3600)
        if os.waitstatus_to_exitcode(os.waitpid(watcher, 0)[1]) != SURVIVED:
            raise session.Failed("a test fails without any change: see above")
        self.calls, self.seconds = json.loads(Path("calls.json").read_text())
        print(f"{len(session.items)} tests, {sum(self.seconds.values()):.0f} s of CPU", flush=True)
        gc.freeze()  # what is collected in a fork is copied first
        for module in dict.fromkeys(mutant.module for mutant in self.mutants):
            self.done(module, self.kill([m for m in self.mutants if m.module == module], session))
        return True

    def kill(self, mutants: list[Mutant], session: pytest.Session) -> dict[Mutant, int]:
        """How the tests end for each mutant: a code as above, or minus the signal that ended it."""
        verdicts = dict.fromkeys(mutants, UNCALLED)
        running: dict[int, Mutant] = {}
        for mutant in [*mutants, None]:
            while len(running) >= (self.at_once if mutant else 1):
                pid, status = os.wait()
                self.judge(running.pop(pid), pid, os.waitstatus_to_exitcode(status), verdicts)
            items = self.tests_of(mutant, session) if mutant else []
            if mutant and items:
                limit = 10 + 5 * sum(self.seconds[item.nodeid] for item in items)
                running[start(partial(self.run, mutant, items, session), limit)] = mutant
        return verdicts

    def judge(self, mutant: Mutant, pid: int, code: int, verdicts: dict[Mutant, int]) -> None:
        """Keep the verdict, and which test killed."""
        verdicts[mutant] = code
        if code == KILLED:
            for name in self.kills:
                self.kills[name] /= 2
            self.kills[Path(f"killer-{pid}").read_text()] += 1
        if code == SURVIVED:
            print(f"{mutant.module}:{mutant.line}", mutant.removed, mutant.added, sep="\n    ")

    def watch(self, session: pytest.Session, file: Path) -> int:
        """Run all tests once without a change: who calls what, and for how long."""
        set_mutant_under_test("stats")
        calls: dict[str, list[str]] = {}
        seconds = {}
        for item, following in zip(session.items, [*session.items[1:], None], strict=True):
            state()._stats.clear()
            begun = time.process_time()
            failed = session.testsfailed
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed > failed:
                print(f"{item.nodeid} fails without any change", flush=True)
            seconds[item.nodeid] = time.process_time() - begun
            for function in state()._stats:
                calls.setdefault(function, []).append(item.nodeid)
        file.write_text(json.dumps([calls, seconds]))
        return KILLED if session.testsfailed else SURVIVED

    def tests_of(self, mutant: Mutant, session: pytest.Session) -> list[pytest.Item]:
        """Tests that call the function, the most promising first."""
        called = self.calls.get(mutant.name.partition("__mutmut_")[0], [])
        own = f"test_{Path(mutant.module).name}"
        return sorted(
            (item for item in session.items if item.nodeid in called),
            key=lambda it: (
                -self.kills.get(it.nodeid, 0),
                it.path.name != own,
                self.seconds[it.nodeid],
            ),
        )

    def run(self, mutant: Mutant, items: list[pytest.Item], session: pytest.Session) -> int:
        """Run the tests with the change, until one fails."""
        set_mutant_under_test(mutant.name)
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        session.config.pluginmanager.unregister(reporter)
        begun = time.process_time()
        for item, following in zip(items, [*items[1:], None], strict=True):
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                Path(f"killer-{os.getpid()}").write_text(item.nodeid)
                return KILLED
            if time.process_time() - begun > PATIENCE:
                break
        return SURVIVED


# Writing it down ----------------------------------------------------------------------------------


def survivors_of(verdicts: dict[Mutant, int]) -> list[dict[str, Any]]:
    """Every survivor, with the reason where one is known."""
    return explained(
        {"line": mutant.line} | mutant.change()
        for mutant, code in verdicts.items()
        if code in (SURVIVED, UNCALLED)
    )


def explained(survivors: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same survivors, each with the reason that mutants.toml has for it."""
    known = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["survivor"]
    reasons = {tuple(entry[key] for key in CHANGE): entry["why"] for entry in known}
    return [
        survivor | {"why": reasons.get(tuple(survivor[key] for key in CHANGE), UNEXPLAINED)}
        for survivor in survivors
    ]


def explain() -> None:
    """Put the reasons of mutants.toml into the kept results, whose mutants stay as they were."""
    kept = measure.read("mutants")
    kept["survivors"] = explained(kept["survivors"])
    left = Counter(row["module"] for row in kept["survivors"] if row["why"] == UNEXPLAINED)
    for module, row in kept["rows"].items():
        row["unexplained"] = left[module]
    (measure.RESULTS / "mutants.json").write_text(json.dumps(kept, indent=2) + "\n")
    print(f"{left.total()} unexplained")


def row_of(verdicts: dict[Mutant, int], survivors: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of a module."""
    codes = Counter(verdicts.values())
    timeouts = codes[-signal.SIGXCPU] + codes[-signal.SIGKILL]
    return {
        "mutants": len(verdicts),
        "killed": codes[KILLED],
        "timeouts": timeouts,
        "crashes": len(verdicts) - codes[KILLED] - timeouts - len(survivors),
        "survived": len(survivors),
        "unexplained": sum(survivor["why"] == UNEXPLAINED for survivor in survivors),
        "share_killed": (codes[KILLED] + timeouts) / len(verdicts),
    }


def save(commit: str, module: str, verdicts: dict[Mutant, int]) -> None:
    """Put a module's results in place of those of its last run."""
    try:
        before = measure.read("mutants")
    except FileNotFoundError:
        before = {"rows": {}, "survivors": []}
    survivors = survivors_of(verdicts)
    rows = before["rows"] | {module: row_of(verdicts, survivors) | {"commit": commit}}
    others = [survivor for survivor in before["survivors"] if survivor["module"] != module]
    both = sorted(others + survivors, key=lambda survivor: list(MODULES).index(survivor["module"]))
    options = {"examples": EXAMPLES, "leave_out": LEAVE_OUT, "tests": MODULES, "not_changed": WORDS}
    measure.write(
        "mutants",
        {name: rows[name] for name in MODULES if name in rows},
        options,
        mutmut=metadata.version("mutmut"),
        survivors=both,
    )
    print(module, rows[module], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(MODULES), help=", ".join(MODULES))
    parser.add_argument("--survivors", action="store_true", help="of the last run; writes nothing")
    parser.add_argument("--explain", action="store_true", help="the kept survivors anew")
    parser.add_argument("--at-once", type=int, default=1, help="mutants")
    options = parser.parse_args()
    if options.explain:
        explain()
        return

    def only_say(module: str, verdicts: dict[Mutant, int]) -> None:
        print(module, Counter(verdicts.values()), flush=True)

    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    commit = commit.strip()
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        for part in ("src", "tests", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)
        words = "".join(f"\n    {pattern}" for pattern in WORDS)
        Path("setup.cfg").write_text(f"[mutmut]\ndo_not_mutate_patterns={words}\n")
        mutants = [mutant for module in options.modules for mutant in mutate(module, folder)]
        if options.survivors:
            left = [tuple(s[key] for key in CHANGE) for s in measure.read("mutants")["survivors"]]
            mutants = [mutant for mutant in mutants if mutant.key() in left]
        print(f"{len(mutants)} mutants", flush=True)
        sys.path.insert(0, str(folder / "src"))
        globs = dict.fromkeys(glob for module in options.modules for glob in MODULES[module])
        tests = [str(path.relative_to(ROOT)) for glob in globs for path in ROOT.glob(glob)]
        run = Run(
            mutants, options.at_once, only_say if options.survivors else partial(save, commit)
        )
        quiet = ["-q", "--tb=short", "-s", "--assert=plain", "-p", "no:cacheprovider"]
        code = pytest.main([*quiet, "-k", LEAVE_OUT, *tests], plugins=[run])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        sys.exit(code)
    rows = {} if options.survivors else measure.read("mutants")["rows"]
    for module in set(options.modules) & rows.keys():
        if rows[module]["share_killed"] < LEAST or rows[module]["unexplained"]:
            sys.exit(
                f"{module}: {rows[module]}: kill {LEAST:.0%}, explain the rest in mutants.toml"
            )


if __name__ == "__main__":
    main()
