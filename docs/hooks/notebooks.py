"""Shows the notebooks, Python in jupytext's percent format, as pages of the site."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = "notebooks/"


def to_markdown(source: str) -> str:
    """Returns a notebook as Markdown: its texts as they are, its code in blocks.

    Args:
      source: the file; what comes before the first cell is left out.
    """
    pages = []
    for cell in re.split(r"^# %%", source, flags=re.MULTILINE)[1:]:
        kind, _, body = cell.partition("\n")
        if "[markdown]" in kind:
            pages.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip())
        else:
            pages.append(f"```python\n{body.strip()}\n```")
    return "\n\n".join(pages) + "\n"


def on_files(files, config):
    """Adds a page for each notebook (an event of mkdocs)."""
    from mkdocs.structure.files import File

    for file in list(files):
        if file.src_uri.startswith(FOLDER) and file.src_uri.endswith(".py"):
            text = to_markdown(Path(file.abs_src_path).read_text(encoding="utf-8"))
            name = file.src_uri.removesuffix(".py")
            note = (
                "!!! note\n    This page is a notebook: "
                f"`jupytext --to ipynb docs/{file.src_uri}`, or run it as it is.\n"
            )
            title, _, rest = text.partition("\n")
            content = f"{title}\n\n{note}\n{rest}"
            files.append(File.generated(config, f"{name}.md", content=content))
    return files
