"""Where the configs lie."""

from pathlib import Path


def conf_dir() -> Path:
    """Return the folder of the configs: the checkout's ``conf/``, else the installed package's."""
    package = Path(__file__).parents[1]
    checkout = package.parents[1] / "conf"
    return checkout if (checkout / "config.yaml").is_file() else package / "conf"
