"""The documentation is true: every module stands on the map, every command in a code block is understood."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from ctvlp.cli import COMMANDS, compose_config
from preprocess.errors import Reason

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def modules() -> list[str]:
    paths = [path for package in ("preprocess", "ctvlp") for path in (ROOT / package).rglob("*.py")]
    return sorted(path.stem for path in paths if not path.stem.startswith("__"))


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("ctvlp ")]


def test_every_module_stands_on_the_map():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {word.split(".")[-1] for word in re.findall(r"`([\w.]+)`", text)}
    assert set(modules()) <= named


def test_the_map_names_no_module_that_is_gone():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "`" in line]
    outside = re.compile(r"\([^()]*\)")
    named = {word.split(".")[-1] for row in rows for word in re.findall(r"`([\w.]+)`", outside.sub("", row))}
    assert named <= set(modules())


@pytest.mark.parametrize(
    "line", [pytest.param(line, id=f"{page.name}: {line}") for page in PAGES for line in commands(page)]
)
def test_commands_of_the_documentation_are_understood(line):
    words = shlex.split(line, comments=True)[1:]
    if words[0] in {"--help", "--version"} or "--help" in words:
        return
    assert words[0] in COMMANDS
    assert compose_config(words[0], words[1:])


def test_the_readme_shows_commands():
    assert len(commands(ROOT / "README.md")) >= 5


def test_every_reason_of_failure_is_explained():
    rows = re.findall(
        r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "store.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert rows == [reason.value for reason in Reason]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_package_that_is_needed_stands_in_the_table_of_licences():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    table = re.findall(r"[\w-]+", (ROOT / "docs" / "licences.md").read_text(encoding="utf-8"))
    names = {re.match(r"[\w-]+", entry)[0] for entry in needed}
    assert {name for name in names if not name.startswith("types-")} <= set(table)
