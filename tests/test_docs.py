"""The documents against the program: every command and option they show exists, every link leads somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from client.cli.main import build_app

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "deploy" / "README.md", *ROOT.glob("docs/**/*.md")])
COMMAND = re.compile(r"(?:^|\$ |`|bin/)(tracemark [a-z][^`\n]*)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
TREE = typer.main.get_command(build_app())


def _shown_commands() -> list[tuple[str, str]]:
    """(document, command line) of every command that the documents show; a trailing backslash joins lines."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text().replace("\\\n", " ")
        found += [(path.name, match.split("  ")[0].split(" #")[0]) for match in COMMAND.findall(text)]
    return sorted(set(found))


@pytest.mark.parametrize(("document", "line"), _shown_commands())
def test_a_command_that_a_document_shows_exists_with_its_options(document: str, line: str) -> None:
    words = shlex.split(line.replace("'", "").replace("...", ""))[1:]
    command = TREE
    while words and (children := getattr(command, "commands", {})):
        name = words.pop(0).partition("|")[0]
        assert name in children, f"{document} shows `{line}`: there is no command {name}"
        command = children[name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    options = {word.partition("=")[0].strip("[]") for word in words if word.strip("[").startswith("--")}
    assert options <= known | {"--help"}, f"{document} shows `{line}`: {sorted(options - known)} are no options of it"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_somewhere(path: Path) -> None:
    missing = [target for target in LINK.findall(path.read_text()) if not (path.parent / target).exists()]
    assert not missing


def test_every_command_has_json_and_an_example() -> None:
    lacking = []
    stack = [("tracemark", TREE)]
    while stack:
        name, command = stack.pop()
        children = getattr(command, "commands", {})
        stack += [(f"{name} {child}", value) for child, value in children.items()]
        if children:
            continue
        options = {option for parameter in command.params for option in parameter.opts}
        if "--json" not in options or "Example:" not in (command.help or ""):
            lacking.append(name)
    assert not lacking
