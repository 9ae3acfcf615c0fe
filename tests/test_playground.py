"""The playground's files: what was made from the package is in step with it, and nothing comes from elsewhere."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import torch

from tinyldm.images import open_image, to_tensor

FOLDER = Path(__file__).parents[1] / "site" / "playground"
sys.path.insert(0, str(FOLDER))

import caption_tables  # noqa: E402
import digits  # noqa: E402


def test_the_tables_of_captions_are_those_of_the_package():
    advice = "run: python site/playground/caption_tables.py"
    assert caption_tables.FILE.read_text("utf-8") == caption_tables.tables(), advice


def test_the_digits_are_mnist_s_in_the_colours_of_their_captions():
    pictures, captions = digits.digits()
    assert json.loads((FOLDER / "src" / "digits.json").read_text("utf-8")) == captions
    sheet = open_image(FOLDER / "src" / "digits.png")
    assert sheet.size == (320, 32)
    for i, picture in enumerate(pictures):
        shown = to_tensor(sheet.crop((32 * i, 0, 32 * i + 32, 32)), 32)[0]
        torch.testing.assert_close(shown, picture, atol=1 / 127, rtol=0)


def test_the_sampler_is_short_enough_to_be_read_beside_lesson_04():
    lines = (FOLDER / "src" / "sampler.ts").read_text("utf-8").splitlines()
    assert len(lines) <= 200 and max(map(len, lines)) <= 120
    names = {"add_noise", "to_x0", "to_noise", "timesteps", "guide", "denoiser", "keep_known", "ddim", "dpmpp_2m"}
    assert names <= set(re.findall(r"function\*? (\w+)", "\n".join(lines)))


def test_the_page_may_load_nothing_from_elsewhere():
    page = (FOLDER / "index.html").read_text("utf-8")
    (policy,) = re.findall(r'Content-Security-Policy"\s+content="([^"]*)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert {rules[name] for name in ("style-src", "connect-src", "worker-src")} == {"'self'"}
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    assert not re.findall(r"(?:src|href|action)=\"(?:https?:)?//", page) and "<style" not in page
    assert not re.findall(r"<script(?![^>]* src=)", page) and not re.findall(r" on\w+=| style=", page)


def test_every_package_is_locked_with_its_fingerprint():
    packages = json.loads((FOLDER / "package-lock.json").read_text("utf-8"))["packages"]
    fetched = {name: package for name, package in packages.items() if name and not package.get("link")}
    assert len(fetched) > 10
    registry = "https://registry.npmjs.org/"  # also where npm goes if no address is given
    assert all(package.get("resolved", registry).startswith(registry) for package in fetched.values())
    assert all(package["integrity"].startswith("sha512-") for package in fetched.values())
