"""Clients of the API and a small fleet, with fresh request counters for each test."""

from tests.support.api_fleet import client_of as client_of
from tests.support.api_fleet import counted_totals as counted_totals
from tests.support.api_fleet import fleet as fleet
from tests.support.api_fleet import fresh_throttles as fresh_throttles
