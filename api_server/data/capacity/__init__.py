"""The Belgian capacity tariff: the quarters of a month, twelve months, and the quarter that runs.

Functions return the API's answers; `now` and `at` are instants in UTC.
"""

from api_server.data.capacity.meter import Meter
from api_server.data.capacity.months import month, year
from api_server.data.capacity.quarters import FLOOR_W
from api_server.data.capacity.running import became_w, now, outdated, own_peak_w

__all__ = [
    "FLOOR_W",
    "Meter",
    "became_w",
    "month",
    "now",
    "outdated",
    "own_peak_w",
    "year",
]
