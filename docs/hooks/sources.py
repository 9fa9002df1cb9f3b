"""Pages and figures that lie outside docs/: the change log, the contributor's guide and what a page links in bench/.

A page links to them as a reader of the repository would (`../bench/results/demo.md`); the site gets a copy of each and
the links are changed to it.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["CHANGELOG.md", "CONTRIBUTING.md"]
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(#[^)\s]*)?(?=\))")


def links(text: str) -> list[str]:
    """Targets of the Markdown links in a text that are files of the repository."""
    return [target for target, _ in LINK.findall(text) if "://" not in target and not target.startswith("mailto:")]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and every file outside docs/ that a page links."""
    wanted = [ROOT / name for name in PAGES]
    docs = Path(config.docs_dir)
    for file in files.documentation_pages():
        page = docs / file.src_uri
        if page.is_file():
            wanted += [(page.parent / link).resolve() for link in links(page.read_text(encoding="utf-8"))]
    for path in wanted:  # grows: a linked page brings the files that it links
        uri = _uri(path, docs)
        if uri is None or not path.is_file() or files.get_file_from_path(uri):
            continue
        level = InclusionLevel.INCLUDED if uri in PAGES else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, uri, abs_src_path=str(path), inclusion=level))
        if path.suffix == ".md" and uri not in PAGES:
            wanted += [(path.parent / link).resolve() for link in links(path.read_text(encoding="utf-8"))]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the places that files of the repository have in the site."""
    source = Path(page.file.abs_src_path) if page.file.abs_src_path else None
    docs = Path(config.docs_dir)
    if source is None:
        return markdown

    def moved(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        path = (source.parent / target).resolve()
        uri = None if "://" in target else _uri(path, docs)
        if uri is None or not path.exists():
            return match[0]
        up = "../" * page.file.src_uri.count("/")
        return f"{up}{uri}{anchor}"

    return LINK.sub(moved, markdown)


def _uri(path: Path, docs: Path) -> str | None:
    """Where a file of the repository lies in the site; None for one outside the repository."""
    for folder in (docs, ROOT):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return None
