"""Clients of the API and a small fleet, with fresh request counters for each test, and right totals at each request."""

from tests.fleet.counted_requests import counted_before_requests as counted_before_requests
from tests.support.api_fleet import client_of as client_of
from tests.support.api_fleet import fleet as fleet
from tests.support.api_fleet import fresh_throttles as fresh_throttles
