"""Is this the code that the run was submitted with, or trained with before?"""

import logging
from typing import Any

from bnnrepro.errors import UserError
from bnnrepro.runs import provenance, reading
from bnnrepro.runs.layout import RunFolder

log = logging.getLogger("bnnrepro")


def compare(folder: RunFolder, mode: str) -> None:
    """Say in the log if the code differs from that of the submission, else of the last start.

    Args:
        folder: of the run.
        mode: ``warn``, or ``strict`` to refuse.

    Raises:
        UserError: it differs, and the mode is strict.
    """
    then, when = _before(folder)
    now = provenance.code()
    if then is None or then.get("source") in (None, now["source"]):
        return
    change = f"{_words(then)} when it was {when}, {_words(now)} now"
    if mode == "strict":
        cure = "code=warn runs it all the same; a new submission takes the code as it is"
        raise UserError("code", "strict", f"the code differs: {change}; {cure}")
    log.warning("the code differs: %s", change)


def _before(folder: RunFolder) -> tuple[dict[str, Any] | None, str]:
    for file, key, when in ((folder.submitted, "code", "submitted"), (folder.env, None, "started")):
        try:
            content = reading.parsed(file)
            found = content[key] if key else content
            if isinstance(found, dict):
                return found, when
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not there, or damaged: it decides nothing
    return None, ""


def _words(code: dict[str, Any]) -> str:
    git, source = code.get("git"), str(code.get("source"))[:8]
    if not isinstance(git, dict):
        return f"source {source}"
    changed = " with changes" if git.get("dirty") else ""
    return f"commit {str(git.get('commit'))[:10]}{changed} (source {source})"
