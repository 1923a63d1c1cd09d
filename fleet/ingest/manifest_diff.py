"""Transfers that differ from their manifest, found by the database, so that only those are read.

Reads transfers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import connection

from campaigns.models import ContentItem
from fleet.models import Load, Transfer
from ifeportal.bulk import json_rows

DIFFERING = """
WITH held AS MATERIALIZED ({held}), item AS MATERIALIZED ({item})
SELECT transfer.load_id, transfer.content
  FROM held JOIN {transfer} AS transfer ON transfer.load_id = held.id
  LEFT JOIN item ON item.campaign_id = held.campaign_id AND item.name = transfer.content
 WHERE CASE WHEN item.size IS NULL THEN transfer.listed
            ELSE NOT transfer.listed OR transfer.bytes_total IS NULL OR transfer.bytes_total <> item.size END
UNION ALL
SELECT held.id, item.name
  FROM held JOIN item ON item.campaign_id = held.campaign_id
 WHERE NOT EXISTS (SELECT 1 FROM {transfer} AS transfer
                    WHERE transfer.load_id = held.id AND transfer.content = item.name)
"""


def differing_transfers(loads: Mapping[int, int], sizes: Mapping[int, Mapping[str, int]]) -> Iterable[tuple[int, str]]:
    """Return load and content of every transfer whose size or listing differs, or that is missing.

    `loads` are ids with the ids of their campaigns, `sizes` the listed items of those, in bytes. Rows of the catalog
    are not used: a newer manifest may be stored in between, and the decisions rest on `sizes`.
    """
    if not loads:
        return []
    held, loads_text = json_rows(Load, ["id", "campaign_id"], loads.items())
    listed = ((campaign, name, size) for campaign, items in sizes.items() for name, size in items.items())
    item, items_text = json_rows(ContentItem, ["campaign_id", "name", "size"], listed)
    with connection.cursor() as cursor:
        cursor.execute(
            DIFFERING.format(held=held, item=item, transfer=Transfer._meta.db_table), [loads_text, items_text]
        )
        rows: list[tuple[int, str]] = cursor.fetchall()
    return rows
