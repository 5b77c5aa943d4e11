"""Every page is whole before any script runs: one shell, its own part, the way to the others, and where one is."""

from __future__ import annotations

import re

import pytest

from cmnas_edge.collector.web import pages
from tests.collector.house import House

FILES = {file.path: file for file in pages.files()}


@pytest.mark.parametrize("path", pages.PAGES)
def test_a_page_is_whole_and_says_where_one_is(path: str) -> None:
    text = FILES[path].content.decode()
    assert "{{" not in text
    assert text.startswith("<!doctype html>")
    assert text.count("<main") == text.count("</main>") == text.count("<h1") == 1
    assert re.findall(r'<a href="(\S+)" aria-current="page">', text) == [path]
    assert re.findall(r'<nav.*?</nav>', text, re.DOTALL)[0].count("<a ") == len(pages.PAGES)
    (skip,) = re.findall(r'class="skip" href="#([\w-]+)"', text)
    assert f'id="{skip}"' in text
    assert "probably the same person" in text
    title = re.findall("<title>(.*)</title>", text)
    assert title[0].endswith(" · cmnas-edge")
    used = re.findall(r'(?:href|src)="(/[\w-]+\.\w+)"', text)
    assert {found.rpartition(".")[2] for found in used} >= {"css", "js", "svg"}
    assert set(used) - {"/openapi.json"} <= FILES.keys()


def test_pages_and_what_they_need_are_served_and_their_parts_are_not(house: House) -> None:
    titles = set()
    for path, file in FILES.items():
        answer = house.ask("GET", path)
        assert (answer.status_code, answer.content) == (200, file.content)
        assert answer.headers["content-type"].startswith(file.kind)
        if file.kind == "text/html":
            titles.add(re.findall("<title>(.*)</title>", answer.text)[0])
    assert len(titles) == len(pages.PAGES)
    assert {path for path, file in FILES.items() if file.kind == "text/html"} == set(pages.PAGES)
    for path in ("/shell", "/shell.html", "/people", "/people.html", "/index.html"):
        assert house.ask("GET", path).status_code == 404


def test_every_module_that_is_imported_is_there() -> None:
    for path, file in FILES.items():
        if path.endswith(".js"):
            for name in re.findall(r'from "\./([\w.]+)"', file.content.decode()):
                assert f"/{name}" in FILES, f"{path} imports {name}"
