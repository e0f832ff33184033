"""Errors below /ui/ are pages too, and every answer there carries the headers of a page."""

from flask import Flask, Response, request

from api_server.pages import page


def register(app: Flask) -> None:
    """Turn what is answered as JSON into a page, where a person reads it."""

    @app.after_request
    def answer_below(response: Response) -> Response:
        if not request.path.startswith(page.FOLDER):
            return response
        if response.status_code >= 400 and response.mimetype == "application/json":
            shown = page.render("error.html", status_code=response.status_code)
            response.set_data(shown.get_data())
            response.content_type = shown.content_type
        response.headers.update(page.HEADERS)
        return response
