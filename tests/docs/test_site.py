"""The documentation site: its links, what it loads, and how equations and docstrings come out.

`LARQ_INSTA_SITE` is the folder of a site that was built already; else the heavy tests build one,
in an environment that has the packages of `docs/requirements.txt` and nothing else.
"""

import base64
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import venv
from functools import partial
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from types import ModuleType, SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from conftest import module

ROOT = Path(__file__).parents[2]
TEXTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "studies/**/*.md", "runtime/*.md")
    for path in sorted(ROOT.glob(pattern))
]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^()\s]+)\)")


def place(path):
    return str(path.relative_to(ROOT))


def prose(path):
    """The text without blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """What links may name: headings as forges and MkDocs number them, and explicit ones."""
    headings = re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r" +", "-", heading) for heading in plain} | set(
        re.findall(r'<a id="(.+?)">', prose(path))
    )


@pytest.mark.parametrize("path", TEXTS, ids=place)
def test_links_of_texts_lead_somewhere(path):
    for link in LINK.findall(prose(path)):
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{place(path)}: {link}"
        if anchor and "api" not in file.parts:  # whose anchors docstrings make
            assert anchor in anchors(file), f"{place(path)}: {link}"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for path in ROOT.glob("docs/**/*.md"):
        assert path.relative_to(ROOT / "docs").as_posix() in navigation
    for path in ROOT.glob("studies/**/*.md"):
        assert place(path) in navigation


def test_the_page_of_commands_is_what_help_says(hook):
    page = hook("commands").page() + "\n"
    assert (ROOT / "docs/commands.md").read_text() == page, "python docs/site/commands.py writes it"


class File(SimpleNamespace):
    """In place of MkDocs's."""

    @classmethod
    def generated(cls, config, src_uri, **values):
        return cls(src_uri=src_uri, **values)


@pytest.fixture
def hook(monkeypatch):
    """Loads a hook, without MkDocs."""
    for name in ("mkdocs", "mkdocs.structure", "mkdocs.structure.files"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["mkdocs.structure.files"].File = File

    return lambda name: module(f"docs/site/{name}.py")


@pytest.mark.parametrize(
    ("text", "repository", "result"),
    [
        ("[a](training.md#speed)", None, "[a](../training.md#speed)"),
        ("[a](../CHANGELOG.md)", None, "[a](../changelog.md)"),
        (
            "![a](../studies/thresholds/effects.png)",
            None,
            "![a](../studies/thresholds/effects.png)",
        ),
        ("[a](../benchmarks/data.py)", None, "a (`benchmarks/data.py`)"),
        ("[`a`](../benchmarks/data.py)", None, "`a`"),
        (
            "[a](../benchmarks/data.py)",
            "https://x.y/z/",
            "[a](https://x.y/z/blob/HEAD/benchmarks/data.py)",
        ),
        ("[a](missing.md)", "https://x.y/z", "[a](missing.md)"),
        ("[a](https://x.y)", None, "[a](https://x.y)"),
        ("```\n[a](../benchmarks/data.py)\n```\n", None, "```\n[a](../benchmarks/data.py)\n```\n"),
    ],
)
def test_links_between_files_become_links_between_pages(hook, text, repository, result):
    """Here of a file in `docs/`, as of a page in a folder of the site."""
    known = ("training.md", "changelog.md", "studies/thresholds/effects.png")
    page = SimpleNamespace(
        file=SimpleNamespace(src_uri="api/here.md", abs_src_path=str(ROOT / "docs/here.md"))
    )
    files = [File(src_uri=uri) for uri in known]
    config = SimpleNamespace(repo_url=repository)
    assert hook("links").on_page_markdown(text, page, config, files) == result


def test_notebooks_become_pages_behind_the_first_one(hook, tmp_path, monkeypatch):
    module = hook("notebooks")
    monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    picture = {
        "output_type": "display_data",
        "data": {"image/png": base64.b64encode(b"P").decode()},
    }
    bar = {"output_type": "stream", "text": ["1/2\r", "\x1b[1m2/2\x1b[0m\n"]}
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Words."]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [bar, picture]},
    ]
    (tmp_path / "quick.ipynb").write_text(json.dumps({"cells": cells}))
    config = SimpleNamespace(nav=[{"Get started": ["index.md", "larq.md"]}])
    assert module.on_config(config).nav == [
        {"Get started": ["index.md", "notebooks/quick.md", "larq.md"]}
    ]
    page, shown = module.on_files([], config)
    assert page.content.startswith("# Title\n\n[The notebook as a file](quick.ipynb)\n")
    assert "````python\nprint(1)\n````\n\n````text\n2/2\n````\n" in page.content
    assert f"![Output]({PurePosixPath(shown.src_uri).name})" in page.content
    assert shown.content == b"P"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site, strictly: MkDocs fails on any link or anchor that is not there."""
    if "LARQ_INSTA_SITE" in os.environ:
        return Path(os.environ["LARQ_INSTA_SITE"])
    folder = tmp_path_factory.mktemp("site")
    venv.create(folder / "env", with_pip=True)
    pip = [folder / "env/bin/pip", "install", "--quiet", "-r", ROOT / "docs/requirements.txt"]
    subprocess.run(pip, check=True)
    build = [folder / "env/bin/mkdocs", "build", "--strict", "--site-dir", folder / "site"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(build, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "env")
    return folder / "site"


class Page(HTMLParser):
    """What a page loads, where it links to, and what can be linked to in it."""

    def __init__(self, path):
        super().__init__()
        self.loaded, self.links, self.names = [], [], set()
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.names.add(values.get("id"))
        source = values.get("src") or (tag == "link" and values["href"])
        if source:
            self.loaded.append(source)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])


@pytest.fixture(scope="session")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


@pytest.mark.slow
def test_nothing_is_loaded_from_other_hosts(site, pages):
    assert len(pages) > 25
    for path, page in pages.items():
        for source in page.loaded:
            assert not urlsplit(source).netloc, f"{path}: {source}"
        assert 'data-md-component="source"' not in page.text  # asks the forge for stars
    for path in site.rglob("*.css"):
        for source in re.findall(r"url\(([^)]+)\)|@import ([^;]+)", path.read_text()):
            assert not urlsplit("".join(source).strip("'\"")).netloc, f"{path}: {source}"


@pytest.mark.slow
def test_everything_that_pages_load_and_link_to_is_there(site, pages):
    for path, page in pages.items():
        if path.name == "404.html":  # whose links begin at the host's root
            continue
        for link in (*page.loaded, *page.links):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].names, f"{path}: {link}"


@pytest.mark.slow
def test_docstrings_are_lists_with_equations(site):
    text = re.sub(
        "<script>.*?</script>", "", (site / "api/layers/index.html").read_text(), flags=re.DOTALL
    )
    assert text.count(">Arguments</strong>") >= 5
    assert r'<div class="arithmatex">\[y = x - TH' in text
    assert "# Arguments" not in text
    assert r"\\(" not in text
    models = (site / "api/models/index.html").read_text()
    assert models.count("<code>reuse_statistics</code>") == 4  # made of options, as in Python
    assert "options" not in re.sub(
        r"<[^>]+>", "", re.search(r"<pre>.*?</pre>", models, re.DOTALL)[0]
    )


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Nothing."""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_browser_sets_all_equations(site, tmp_path):
    handler = partial(Silent, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu"]
        options = [f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom"]
        address = f"http://127.0.0.1:{server.server_port}/how/"
        command = [*browser, *options, address]
        text = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=120
        ).stdout
        server.shutdown()
    wanted = text.count('class="arithmatex"')
    assert text.count("<mjx-container") == wanted > 30
    assert "<mjx-merror" not in text
