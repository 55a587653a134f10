"""An mdBook preprocessor: replaces links to files outside docs/ by their text and the path in the repository.

The same pages are read in the repository, where these links work, and in the book, which has only the pages of docs/.
"""

import json
import re
import sys

OUTSIDE = re.compile(r"\[([^\]]*)\]\((?:\.\./)+([^)#\s]*)(#[^)\s]*)?\)")


def replaced(link: re.Match[str]) -> str:
    text, path = link.group(1), link.group(2)
    return text if path in text else f"{text} (`{path}` in the repository)"


def visit(items: list) -> None:
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter:
            depth = (chapter.get("path") or "").count("/")
            # Within docs/, a page of a folder reaches its siblings by one step up.
            chapter["content"] = OUTSIDE.sub(
                lambda link: link.group(0) if link.group(0).count("../") <= depth else replaced(link), chapter["content"]
            )
            visit(chapter["sub_items"])


def main() -> None:
    if sys.argv[1:2] == ["supports"]:
        return
    _, book = json.load(sys.stdin)
    visit(book.get("items") or book.get("sections"))
    json.dump(book, sys.stdout)


main()
