"""Where the nodes of a network that `network init` made are to be reached."""

import json
from pathlib import Path


def read_addresses(folder: Path) -> dict[str, dict[str, str]]:
    """`api` (a URL) and `peer` (host:port) of each agency, from its network.json."""
    agencies: dict[str, dict[str, str]] = json.loads((folder / "network.json").read_text())["agencies"]
    return agencies
