"""The HTTP API (DESIGN 11): one router per noun, one error shape. `mount` puts it onto an application."""

from typing import Final

from fastapi import FastAPI, Response

from node.api import evidence, governance, health, log, network, openapi, parties, problems, records, weapons
from node.service.network import SOFTWARE
from node.service.services import Services

DESCRIPTION: Final = (
    "Tracemark: a ledger that several agencies keep together, on which a firearm found anywhere can be traced to everyone "
    "who ever held it. Whatever this node answers about the ledger can be verified without trusting it."
)


def mount(app: FastAPI, services: Services) -> None:
    """Give the application its routes, its error shape and its OpenAPI document."""
    app.state.services = services
    problems.install(app)
    for module in (records, weapons, parties, governance, evidence, log, network, health):
        app.include_router(module.router, default_response_class=Response)
    openapi.install(app, version=SOFTWARE)
