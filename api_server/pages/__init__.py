"""The pages: HTML made here from what the API answers, below /ui/."""

from flask import Flask
from jinja2 import StrictUndefined

from api_server.pages import errors, languages
from api_server.pages.page import blueprint


def register(app: Flask) -> None:
    """Serve the pages, and answer every error below /ui/ with one."""
    # Each adds its routes to the blueprint.
    from api_server.pages import health, history, login, now, peaks  # noqa: F401

    app.extensions["languages"] = languages.load()
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_blueprint(blueprint)
    errors.register(app)
