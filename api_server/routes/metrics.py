"""GET /metrics: what Prometheus scrapes, on the socket only; the proxy lets nobody else in."""

from flask import Blueprint, current_app
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from api_server.web.errors import Answer

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Answer:
    """Counters of all workers, and gauges of the devices."""
    registry = current_app.extensions["metrics"].collectors()
    gauges = CollectorRegistry()
    gauges.register(current_app.extensions["gauges"])
    text = generate_latest(registry) + generate_latest(gauges)
    return Answer(text, content_type=CONTENT_TYPE_LATEST)
