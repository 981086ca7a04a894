"""`python -m gapkit`."""

from .cli.main import app

app()
