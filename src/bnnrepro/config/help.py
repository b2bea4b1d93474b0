"""The text of ``--help``: usage, the groups with their options, every key with its meaning."""

from pathlib import Path

from hydra.core.config_loader import ConfigLoader

from bnnrepro.config.annotated_yaml import annotated
from bnnrepro.config.compose import groups
from bnnrepro.config.schema import Config

USAGE = """\
bnnrepro trains networks with binary weights, by several rules under one protocol, and records each
run in a folder named by its settings: the same command again resumes or skips it.

  python run.py                                       a small run: BayesBiNN on 8x8 digits
  python run.py method=ste dataset=cifar10            the paper's settings for this pair
  python run.py method=pmf method.lr=3e-3 preset=quick
  python run.py -m method=bayesbinn,ste 'seed=range(5)' dataset=mnist
  python run.py method=pmf dataset=mnist --cfg job    show the settings, run nothing

"""


def help_text(loader: ConfigLoader, config: Config) -> str:
    """Return the help for a composed config."""
    listed = groups(loader)
    last = [group for group in ("experiment", "protocol") if group in listed]
    parts = [USAGE]
    for group in [*(group for group in listed if group not in last), *last]:
        note = "  (applied automatically, by data set and method)" if group == "protocol" else ""
        parts.append(f"{group}={note}\n{_options(loader, group, listed[group])}\n")
    parts += ["Every key, with its value for this command line:\n\n", annotated(config)]
    return "".join(parts)


def _options(loader: ConfigLoader, group: str, options: list[str]) -> str:
    comments = [(name, first_comment(loader, f"{group}/{name}")) for name in options]
    return "".join(f"  {name:<23} {text}".rstrip() + "\n" for name, text in comments)


def first_comment(loader: ConfigLoader, config: str) -> str:
    """Return the first comment line of a config file, its package directive left out."""
    for source in loader.get_sources():
        file = Path(source.path) / f"{config}.yaml"
        if source.scheme() == "file" and file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            comments = [line.lstrip("# ") for line in lines if line.startswith("#")]
            return next((text for text in comments if not text.startswith("@package")), "")
    return ""
