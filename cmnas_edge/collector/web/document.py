"""What the API says of itself: an OpenAPI document, made of `ROUTES` and of the structs that stand in it."""

from __future__ import annotations

from typing import Any

import msgspec

from cmnas_edge import __version__
from cmnas_edge.collector import views
from cmnas_edge.collector.web import condition
from cmnas_edge.collector.web.api import Api
from cmnas_edge.collector.web.exports import Table
from cmnas_edge.collector.web.routes import ROUTES

__all__ = ["openapi"]


def openapi() -> dict[str, Any]:
    """Describe the API: OpenAPI 3.1, made of `ROUTES`."""
    kinds = [kind for route in ROUTES for kind in (route.asks, route.returns) if kind is not Table]
    _, schemas = msgspec.json.schema_components([*kinds, views.Problem], ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        answers = {"200": _content(route.returns, "The answer.") if issubclass(route.returns, msgspec.Struct) else
                          {"description": "The file.", "content": {"text/csv": {}}},
                   "400": _content(views.Problem, "The question makes no sense; says why."),
                   "401": _content(views.Problem, "People are enrolled, and nobody is logged in."),
                   "403": _content(views.Problem, "The role may not; or it came through a proxy, from a page "
                                                  "elsewhere, or from another machine without TLS or people."),
                   "404": _content(views.Problem, "What was asked for is not in the hot window."),
                   "503": _content(views.Problem, "It cannot be noted or looked up for now, and was not done.")}
        if route.returns is views.IdentityList:
            answers["304"] = {"description": "Nothing changed since the ETag of If-None-Match."}
        if route.name == "search":
            answers["503"] = _content(views.Problem, "What keeps the vectors is away; ask again later.")
        if route.name == "decide":
            answers["409"] = _content(views.Problem, "As things stand it cannot be decided; says why.")
        says = (getattr(Api, route.name).__doc__ or "").strip()
        entry: dict[str, Any] = {"operationId": route.name, "summary": says, "responses": answers}
        if route.method == "POST":
            answers["408"] = _content(views.Problem, "The body did not come.")
            entry["requestBody"] = {**_content(route.asks, "The question."), "required": True}
        else:
            entry["parameters"] = [
                {"name": name, "in": "path" if "{" + name + "}" in route.path else "query",
                 "required": name in schemas[route.asks.__name__].get("required", ()), "schema": schema}
                for name, schema in schemas[route.asks.__name__]["properties"].items()]
        paths.setdefault(route.path, {})[route.method.lower()] = entry
    for route in ROUTES:
        if route.method == "GET":
            schemas.pop(route.asks.__name__, None)
    paths["/v1/sightings"]["post"] = {
        "operationId": "receive", "security": [{"device": []}],
        "summary": "Store a batch of sightings (cmnas.v1.Batch); answered once it is on the disk.",
        "requestBody": {"required": True, "content": {"application/x-protobuf": {}}},
        "responses": {
            "200": {"description": "cmnas.v1.Answer: per record stored, duplicate or refused with the reason.",
                    "content": {"application/x-protobuf": {}}},
            "400": {"description": "No batch."}, "401": {"description": "No token of an enrolled device."},
            "408": {"description": "The body did not come."},
            "409": {"description": "Nothing of it can be taken for now, as of a bundle or a site key that is not used "
                                   "here: the first record's reason. Keep it and send it again."},
            "413": {"description": "The body is too long."},
            "429": {"description": "More than this device may send, or several requests at once; keep it and send it "
                                   "again after Retry-After seconds."},
            "503": {"description": "Nothing was stored; send it again after Retry-After seconds."}}}
    paths[condition.PATH] = {"get": {
        "operationId": "healthz", "security": [], "summary": "Say in one word whether it does its work, to anybody.",
        "responses": {"200": {"description": "ok", "content": {"text/plain": {}}},
                      "503": {"description": "degraded", "content": {"text/plain": {}}}}}}
    paths["/v1/events"] = {"get": {
        "operationId": "events", "responses": {
            "200": {"description": "Server-sent events: change with a version that says whether to ask again, beat "
                                   "every ten seconds, over when the session is.",
                    "content": {"text/event-stream": {}}},
            "401": _content(views.Problem, "People are enrolled, and nobody is logged in."),
            "403": _content(views.Problem, "It came through a proxy, from a page elsewhere, or from another machine "
                                           "without TLS or people."),
            "503": _content(views.Problem, "Too many pages are open; ask again after Retry-After seconds.")},
        "summary": "Tell an open page whenever an answer may have changed."}}
    return {"openapi": "3.1.0",
            "info": {"title": "cmnas-edge collector", "version": __version__,
                     "description": "Read from this machine only, until people are enrolled; then they log in, from "
                                    "other machines over TLS. Identities are probable, never proven. Vectors are "
                                    "never shown."},
            "paths": paths,
            "components": {"schemas": schemas,
                           "securitySchemes": {"device": {"type": "http", "scheme": "bearer"}}}}


def _content(kind: type[msgspec.Struct], description: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}
