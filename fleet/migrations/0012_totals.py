"""Totals in rows, filled by SQL: one airline at a time, so that memory is bounded."""

from __future__ import annotations

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

COUNT_COLUMNS = (
    "tails",
    "tails_out",
    "loads",
    "loads_unknown",
    "at_risk",
    "failed",
    "silent",
    "stalled",
    "contradiction",
    "waiting",
    "restarted",
    "loading",
    "pending",
    "complete",
    "deleted",
    "proof_claimed",
    "proof_size",
    "proof_hash",
    "proof_signed",
)
# (null, column) of the sums
SUM_COLUMNS = (
    (True, "items_total"),
    (False, "items_done"),
    (False, "items_failed"),
    (False, "bytes_done_high"),
    (False, "bytes_done_low"),
    (False, "bytes_held_high"),
    (False, "bytes_held_low"),
    (True, "bytes_total_high"),
    (True, "bytes_total_low"),
)
CAMPAIGNS = """
INSERT INTO fleet_campaigntotals (campaign_id, tails, tails_out, loads, loads_unknown, at_risk, failed, silent, stalled,
    contradiction, waiting, restarted, loading, pending, complete, deleted, proof_claimed, proof_size, proof_hash,
    proof_signed, items_total, items_done, items_failed, bytes_done_high, bytes_done_low, bytes_held_high,
    bytes_held_low, bytes_total_high, bytes_total_low, as_of, newest_load)
SELECT campaign_id,
       COUNT(*) FILTER (WHERE serving), COUNT(*) FILTER (WHERE NOT serving), COUNT(*) FILTER (WHERE counted),
       COUNT(*) FILTER (WHERE counted AND NOT known), COUNT(*) FILTER (WHERE counted AND at_risk),
       COUNT(*) FILTER (WHERE word = 'failed'), COUNT(*) FILTER (WHERE word = 'silent'),
       COUNT(*) FILTER (WHERE word = 'stalled'), COUNT(*) FILTER (WHERE word = 'contradiction'),
       COUNT(*) FILTER (WHERE word = 'waiting'), COUNT(*) FILTER (WHERE word = 'restarted'),
       COUNT(*) FILTER (WHERE word = 'loading'), COUNT(*) FILTER (WHERE word = 'pending'),
       COUNT(*) FILTER (WHERE word = 'complete'), COUNT(*) FILTER (WHERE word = 'deleted'),
       COUNT(*) FILTER (WHERE word = 'complete' AND proof = ''),
       COUNT(*) FILTER (WHERE word = 'complete' AND proof = 'size'),
       COUNT(*) FILTER (WHERE word = 'complete' AND proof = 'hash'),
       COUNT(*) FILTER (WHERE word = 'complete' AND proof = 'signed'),
       SUM(items_total) FILTER (WHERE counted AND known),
       COALESCE(SUM(items_done) FILTER (WHERE counted AND known), 0),
       COALESCE(SUM(items_failed) FILTER (WHERE counted), 0),
       COALESCE(SUM(bytes_done / 2147483648) FILTER (WHERE counted AND known), 0),
       COALESCE(SUM(bytes_done % 2147483648) FILTER (WHERE counted AND known), 0),
       COALESCE(SUM(bytes_done / 2147483648) FILTER (WHERE counted), 0),
       COALESCE(SUM(bytes_done % 2147483648) FILTER (WHERE counted), 0),
       SUM(bytes_total / 2147483648) FILTER (WHERE counted AND known),
       SUM(bytes_total % 2147483648) FILTER (WHERE counted AND known),
       MAX(as_of) FILTER (WHERE serving), MAX(id)
  FROM (
    SELECT flagged.*, serving AND status <> 'deleted' AS counted, bytes_total IS NOT NULL AS known,
           CASE WHEN NOT serving THEN '' WHEN status <> 'loading' THEN status WHEN silent THEN 'silent'
                WHEN stalled THEN 'stalled' WHEN contradiction <> '' THEN 'contradiction' WHEN waiting THEN 'waiting'
                WHEN restarted THEN 'restarted' ELSE 'loading' END AS word
      FROM (
        SELECT load.*, tail.duty = 'active' AS serving
          FROM fleet_load AS load JOIN fleet_tail AS tail ON tail.id = load.tail_id
          JOIN campaigns_campaign AS campaign ON campaign.id = load.campaign_id
         WHERE campaign.airline_id = ANY_AIRLINE
      ) AS flagged
  ) AS worded
 GROUP BY campaign_id
"""
ITEMS = """
INSERT INTO fleet_itemtotals (campaign_id, content, complete, loading, failed, newest)
SELECT load.campaign_id, transfer.content,
       COUNT(*) FILTER (WHERE transfer.status = 'complete' AND tail.duty = 'active'),
       COUNT(*) FILTER (WHERE transfer.status = 'loading' AND tail.duty = 'active'),
       COUNT(*) FILTER (WHERE transfer.status = 'failed' AND tail.duty = 'active'),
       MAX(transfer.id)
  FROM fleet_transfer AS transfer JOIN fleet_load AS load ON load.id = transfer.load_id
  JOIN fleet_tail AS tail ON tail.id = load.tail_id
  JOIN campaigns_campaign AS campaign ON campaign.id = load.campaign_id
 WHERE campaign.airline_id = ANY_AIRLINE
 GROUP BY load.campaign_id, transfer.content
"""
TAILS = """
UPDATE fleet_tail SET primary_load_id = ranked.id, loads_loading = ranked.loading, loads_failed = ranked.failed,
       ready = ranked.complete = ranked.number
  FROM (
    SELECT load.id, load.tail_id,
           COUNT(*) FILTER (WHERE status = 'loading') OVER (PARTITION BY tail_id) AS loading,
           COUNT(*) FILTER (WHERE status = 'failed') OVER (PARTITION BY tail_id) AS failed,
           COUNT(*) FILTER (WHERE status = 'complete') OVER (PARTITION BY tail_id) AS complete,
           COUNT(*) OVER (PARTITION BY tail_id) AS number,
           ROW_NUMBER() OVER (
               PARTITION BY tail_id
               ORDER BY CASE WHEN status = 'loading' THEN 0 ELSE 1 END,
                        CASE WHEN status = 'loading' THEN campaign.exhibition_starts END ASC NULLS LAST,
                        CASE WHEN status <> 'loading' THEN as_of END DESC NULLS LAST, load.id DESC
           ) AS place
      FROM fleet_load AS load JOIN campaigns_campaign AS campaign ON campaign.id = load.campaign_id
      JOIN fleet_tail AS tail ON tail.id = load.tail_id
     WHERE tail.airline_id = ANY_AIRLINE AND status <> 'deleted'
  ) AS ranked
 WHERE ranked.tail_id = fleet_tail.id AND ranked.place = 1
"""


def _airlines() -> str:
    """Return the statement that adds up an airline's campaigns and counts its tails."""
    sums = [f"COALESCE(SUM(totals.{name}), 0)" for name in COUNT_COLUMNS[2:]]
    sums += [f"SUM(totals.{name})" if is_null else f"COALESCE(SUM(totals.{name}), 0)" for is_null, name in SUM_COLUMNS]
    columns = (*COUNT_COLUMNS[2:], *(name for _, name in SUM_COLUMNS))
    tails = "(SELECT {} FROM fleet_tail WHERE airline_id = ANY_AIRLINE{})"
    counts = [
        tails.format("COUNT(*)", " AND duty = 'active'"),
        tails.format("COUNT(*)", " AND duty <> 'active'"),
        tails.format("COUNT(*)", " AND duty = 'active' AND ready"),
        tails.format("COALESCE(MAX(id), 0)", ""),
    ]
    return (
        "INSERT INTO fleet_airlinetotals (airline_id, tails, tails_out, ready, newest_tail, as_of, newest_load, "
        f"{', '.join(columns)}) SELECT ANY_AIRLINE, {', '.join(counts)}, MAX(as_of), COALESCE(MAX(newest_load), 0), "
        f"{', '.join(sums)} FROM fleet_campaigntotals AS totals "
        "JOIN campaigns_campaign AS campaign ON campaign.id = totals.campaign_id WHERE campaign.airline_id = ANY_AIRLINE"
    )


def fill(apps: Any, schema_editor: Any) -> None:
    """Count everything once, in the order in which the statements build on each other."""
    airlines = apps.get_model("ifeportal", "Airline").objects.order_by("pk").values_list("pk", flat=True)
    with schema_editor.connection.cursor() as cursor:
        for airline in list(airlines):
            for statement in (TAILS, CAMPAIGNS, ITEMS, _airlines()):
                cursor.execute(statement.replace("ANY_AIRLINE", str(int(airline))))


def _sums() -> list[tuple[str, models.Field[Any, Any]]]:
    counts = [(name, models.PositiveIntegerField(db_default=0, default=0)) for name in COUNT_COLUMNS]
    sums = [
        (name, models.BigIntegerField(blank=True, null=True) if is_null else models.BigIntegerField(db_default=0, default=0))
        for is_null, name in SUM_COLUMNS
    ]
    return [
        *counts,
        *sums,
        ("as_of", models.DateTimeField(blank=True, null=True)),
        ("newest_load", models.BigIntegerField(db_default=0, default=0)),
    ]


class Migration(migrations.Migration):
    dependencies = [
        ("campaigns", "0006_plain_texts"),
        ("fleet", "0011_attention_findings"),
        ("ifeportal", "0009_end_credentials"),
    ]

    operations = [
        migrations.CreateModel(
            name="CampaignTotals",
            fields=[
                *_sums(),
                ("campaign", models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name="totals", serialize=False, to="campaigns.campaign")),
            ],
            options={"verbose_name_plural": "campaign totals"},
        ),
        migrations.CreateModel(
            name="AirlineTotals",
            fields=[
                *_sums(),
                ("airline", models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name="totals", serialize=False, to="ifeportal.airline")),
                ("ready", models.PositiveIntegerField(db_default=0, default=0)),
                ("newest_tail", models.BigIntegerField(db_default=0, default=0)),
                ("checked_at", models.DateTimeField(blank=True, help_text="When all totals were last counted again.", null=True)),
                ("corrections", models.PositiveIntegerField(db_default=0, default=0, help_text="Number of stored rows that a check had to correct.")),
                ("corrected_at", models.DateTimeField(blank=True, help_text="When a check last corrected a row.", null=True)),
                ("correction", models.TextField(blank=True, db_default="", help_text="The rows it corrected.")),
            ],
            options={"verbose_name_plural": "airline totals"},
        ),
        migrations.CreateModel(
            name="ItemTotals",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("content", models.CharField(help_text="The item's name, without .tgz.", max_length=200)),
                ("complete", models.IntegerField(db_default=0, default=0)),
                ("loading", models.IntegerField(db_default=0, default=0)),
                ("failed", models.IntegerField(db_default=0, default=0)),
                ("newest", models.BigIntegerField(db_default=0, default=0)),
                ("campaign", models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="item_totals", to="campaigns.campaign")),
            ],
            options={
                "verbose_name_plural": "item totals",
                "ordering": ["campaign", "content"],
                "constraints": [models.UniqueConstraint(fields=("campaign", "content"), name="item_totals_once")],
            },
        ),
        migrations.AddField(
            model_name="tail",
            name="primary_load",
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, help_text="The load that represents the tail in lists.", null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+", to="fleet.load"),
        ),
        migrations.AddField(
            model_name="tail",
            name="loads_loading",
            field=models.PositiveIntegerField(db_default=0, default=0, help_text="Loads with the status loading."),
        ),
        migrations.AddField(
            model_name="tail",
            name="loads_failed",
            field=models.PositiveIntegerField(db_default=0, default=0, help_text="Loads with the status failed."),
        ),
        migrations.AddField(
            model_name="tail",
            name="ready",
            field=models.BooleanField(db_default=False, default=False, help_text="All loads it has started are complete."),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
