"""Nobody is shown a regular expression: wherever a text must have a form, words beside it say which."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from cmnas_edge import cli
from cmnas_edge.bundle import Bundle
from cmnas_edge.camera.settings import load
from cmnas_edge.errors import BundleError, ConfigError
from tests.tiny_bundle import copy_tiny, reseal

ROOT = Path(__file__).parents[2]
GATE = 'device = "gate"\ncollector = "https://middle"\ntoken = "gate.token"\n'
CAMERA = '[[cameras]]\nname = "north"\nsource = {location = "a.avi"}\n'
NAMES = "1 to 64 letters, digits, spaces or any of ._- with a letter or digit first"


def test_every_pattern_has_its_words() -> None:
    bare, count = [], 0
    for folder in ("cmnas_edge", "train", "export"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Meta"):
                    words = {word.arg for word in node.keywords}
                    count += "pattern" in words
                    bare += [f"{path}:{node.lineno}"] if "pattern" in words and "description" not in words else []
    assert bare == []
    assert count >= 8


@pytest.mark.parametrize(("text", "said"), [
    (GATE.replace("gate\"", "a/b\"", 1) + CAMERA, f"line 1: expected {NAMES}, found 'a/b' at device; correct it"),
    (GATE + CAMERA.replace("north", ".north"),
     f"line 5: expected {NAMES}, found '.north' at cameras[0].name; correct it"),
    (GATE + CAMERA.replace("north", "n" * 200),
     f"line 5: expected {NAMES}, found '{'n' * 99}... at cameras[0].name; correct it"),
    (GATE + '[link]\nsite = "two words"\n' + CAMERA, ("line 5: expected 1 to 64 letters, digits or any of ._- with a "
                                                     "letter or digit first, found 'two words' at link.site; correct")),
    (GATE + '[link]\nseal_to = "ABC"\n' + CAMERA, ("line 5: expected the 64 hexadecimal digits that 'cmnas-edge "
                                                  "collector seal-key' prints, or nothing, found 'ABC' at link")),
    (GATE + '[trust]\nkeys = ["no key"]\n' + CAMERA, ("line 5: expected the 64 hexadecimal digits that 'python -m "
                                                     "export keygen' printed, found 'no key' at trust.keys[0]")),
])
def test_a_text_of_another_form_is_answered_with_what_may_stand_there(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert said in str(refused.value)
    assert "regex" not in str(refused.value)


def test_so_is_a_manifest_and_a_device_to_be_enrolled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy_tiny(tmp_path)
    reseal(path, lambda manifest: manifest.update(name="a/b"))
    with pytest.raises(BundleError, match=r"Expected 1 to 80 letters, digits, spaces or any of \._- - at `\$\.name`; "):
        Bundle.open(path)
    (tmp_path / "collector.toml").write_text('data = "data"\n')
    assert cli.main(["collector", "enrol", "a/b", "--config", str(tmp_path / "collector.toml")]) == 78
    assert f"expected {NAMES}, found 'a/b'" in capsys.readouterr().err
